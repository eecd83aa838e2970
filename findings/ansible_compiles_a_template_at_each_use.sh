#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Guess:    ansible-core keeps the compiled form of a template, at least for as long as the process runs.
# Seen:     ansible-core 2.19.14 with Jinja 3.1.6 compiles the same text again at every use: a hundred evaluations of a variable
#           that refers to a second one, which refers to a third, are three hundred compilations. Within one evaluation a
#           variable that is mentioned twice is compiled once.
# Matters:  compiling was 60 % of the time of rendering a role's variables here. A chain of variables that only rename each other
#           is paid for at every use, in every task and for every host; a fact set once is not.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet ansible-core==2.19.14 jinja2==3.1.6
cat > "$work/count.py" <<'END'
import collections

import jinja2
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

compilations = collections.Counter()
compile_once = jinja2.Environment.compile


def counted(environment, source, *arguments, **named):
    compilations[str(source)] += 1
    return compile_once(environment, source, *arguments, **named)


jinja2.Environment.compile = counted
chain = {"outer": trust_as_template("{{ middle }}"), "middle": trust_as_template("{{ inner }}"), "inner": 1}
templar = Templar(DataLoader(), variables=chain)
for _ in range(100):
    templar.template(trust_as_template("{{ outer }} {{ outer }}"))
for text, count in sorted(compilations.items()):
    print(count, text)
END
"$work/venv/bin/python" "$work/count.py" | tee "$work/seen"
cat > "$work/expected" <<'END'
100 {{ inner }}
100 {{ middle }}
100 {{ outer }} {{ outer }}
END
diff "$work/expected" "$work/seen" && echo "still so"
