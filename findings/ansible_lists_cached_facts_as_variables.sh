#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Guess:    ansible-inventory lists what the inventory sets; facts that a cache keeps belong to runs alone.
# Seen:     with fact_caching=jsonfile, ansible-core 2.19.14 lists every fact of an earlier run among the variables of its host,
#           under its own name and without a sign of where it comes from, also those that a module has made up.
# Matters:  a tool that checks the variables of a listing finds its own results there at the second run, and takes them for
#           variables that somebody has set.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet ansible-core==2.19.14
cat > "$work/hosts.ini" <<'END'
localhost ansible_connection=local set_in_the_inventory=1
END
cat > "$work/run.yml" <<'END'
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.set_fact: {found_by_a_run: 2, cacheable: true}
END
export ANSIBLE_CACHE_PLUGIN=jsonfile ANSIBLE_CACHE_PLUGIN_CONNECTION="$work/facts" ANSIBLE_DEPRECATION_WARNINGS=false
cd "$work"
venv/bin/ansible-playbook -i hosts.ini run.yml > log
venv/bin/ansible-inventory -i hosts.ini --list | grep -oE '"(found|set)_[a-z_]+": [0-9]' | sort | tee seen
cat > expected <<'END'
"found_by_a_run": 2
"set_in_the_inventory": 1
END
diff expected seen && echo "still so"
