#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Guess:    what ansible-core packs for hosts (a module with all the helpers that it imports) is kept, as it only depends on files;
#           its own code says "using cached module".
# Seen:     ansible-core 2.19.14 keeps it in a temporary folder of the run, and removes that at the end: the second run of the same
#           play packs the same modules again. There is no setting for it; `local_tmp` only says where the temporary folders are made.
# Matters:  packing parses every imported file. For modules that import fifty files it was a third of the processor time of a run
#           that had nothing to change, 0.15 to 0.25 s for each module.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet ansible-core==2.19.14
cat > "$work/play.yml" <<'END'
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - ansible.builtin.stat: {path: /}
    - ansible.builtin.stat: {path: /tmp}
    - ansible.builtin.slurp: {src: /etc/hostname}
END
cd "$work"
for run in first second; do
    HOME=$work ANSIBLE_LOCAL_TEMP=$work/tmp ANSIBLE_DEBUG=1 ANSIBLE_LOCALHOST_WARNING=false LC_ALL=C.UTF-8 \
        venv/bin/ansible-playbook -i localhost, \
        -e "ansible_python_interpreter=$work/venv/bin/python" play.yml > "$run.log" 2>&1
    echo "$run run: packed $(grep -c 'ANSIBALLZ: Creating module' "$run.log"), taken from before $(grep -c 'ANSIBALLZ: using cached module' "$run.log")"
done > seen
cat seen
cat > expected <<'END'
first run: packed 2, taken from before 1
second run: packed 2, taken from before 1
END
diff expected seen && echo "still so"
