#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Guess:    `--tags host` on the command line runs what has the tag host, whatever ansible.cfg or the environment say, as with other options.
# Seen:     ansible-core 2.19.14 adds the option to the setting. With ANSIBLE_RUN_TAGS=all, which is what runs without any setting,
#           or `run = all` below [tags] in ansible.cfg, `--tags host` runs everything; with another tag there, that one as well.
# Matters:  whoever sets the default in so many words, to be safe from a user's ansible.cfg, loses --tags.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet ansible-core==2.19.14
cd "$work"
cat > play.yml <<'END'
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - {name: of the host, ansible.builtin.debug: {msg: host}, tags: [host]}
    - {name: of the service, ansible.builtin.debug: {msg: serve}, tags: [serve]}
    - {name: of nothing, ansible.builtin.debug: {msg: nothing}}
END
count() {
    what=$1
    shift
    ran=$(env HOME="$work" LC_ALL=C.UTF-8 "$@" venv/bin/ansible-playbook -i localhost, --tags host play.yml 2> /dev/null | grep -c '^ok:')
    echo "$what: $ran"
}
{
    count "no setting" A=1
    count "set to another tag" ANSIBLE_RUN_TAGS=serve
    count "set to all" ANSIBLE_RUN_TAGS=all
} > seen
cat seen
cat > expected <<'END'
no setting: 1
set to another tag: 2
set to all: 3
END
diff expected seen && echo "still so"
