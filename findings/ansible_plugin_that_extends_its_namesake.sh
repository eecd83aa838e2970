#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Guess:    a become plugin of one's own called sudo.py extends Ansible's with `from ansible.plugins.become.sudo import …`.
# Seen:     with ansible-core 2.19.14 it ends with "cannot import name 'DOCUMENTATION' from 'ansible.plugins.become.sudo'": the loader
#           puts the file of one's own into sys.modules under the full name of Ansible's plugin, so the file imports itself. Loaded
#           from its file under another name, Ansible's plugin can be extended.
# Matters:  whoever changes one method of a plugin and keeps its name, so that no inventory has to change.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet ansible-core==2.19.14
mkdir "$work/bin" "$work/home" "$work/imports" "$work/loads"
# A stand-in that does on this machine what sudo does.
cat > "$work/bin/sudo" <<'END'
#!/bin/sh
while [ "$1" != /bin/sh ]; do shift; done
exec "$@"
END
chmod +x "$work/bin/sudo"
cat > "$work/imports/sudo.py" <<'END'
from ansible.plugins.become.sudo import DOCUMENTATION, BecomeModule as Theirs

class BecomeModule(Theirs):
    pass
END
cat > "$work/loads/sudo.py" <<'END'
from importlib.machinery import SourceFileLoader
from pathlib import Path
from ansible.plugins import become

theirs = SourceFileLoader("theirs", str(Path(become.__file__).with_name("sudo.py"))).load_module()
DOCUMENTATION = theirs.DOCUMENTATION

class BecomeModule(theirs.BecomeModule):
    pass
END
said() {
    HOME=$work/home PATH=$work/bin:$PATH ANSIBLE_BECOME_PLUGINS=$work/$1 ANSIBLE_LOCALHOST_WARNING=false \
        "$work/venv/bin/ansible" localhost --become -m raw -a "echo reached" 2>&1 || true
}
said imports | grep -o "cannot import name '[A-Z]*' from 'ansible.plugins.become.sudo'" | head -n 1 | tee "$work/refused"
test -s "$work/refused"
said loads | grep -x reached
echo "still so"
