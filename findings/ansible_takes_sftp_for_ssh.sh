#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Guess:    `sftp_extra_args = -S PROGRAM` makes sftp start PROGRAM, whatever PROGRAM is called.
# Seen:     with ansible-core 2.19.14, where PROGRAM is also the `ssh_executable`, every copy to a host ends after the time-out with
#           "waiting for privilege escalation prompt" and the host counts as unreachable. The connection plugin takes each command
#           that has the ssh program among its words for ssh itself, and waits for what sudo prints; sftp prints no such thing.
#           `-SPROGRAM`, in one word, works.
# Matters:  whoever wraps ssh and wants sftp and scp to go through the same wrapper.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet ansible-core==2.19.14
mkdir "$work/bin" "$work/home"
# Stand-ins that do on this machine what ssh, sftp and sudo would do on a host.
cat > "$work/bin/wrapped-ssh" <<'END'
#!/bin/sh
for last do :; done
exec sh -c "$last"
END
cat > "$work/bin/sftp" <<'END'
#!/bin/sh
while read -r verb from to; do [ "$verb" != put ] || cp "$from" "$to"; done
END
cat > "$work/bin/sudo" <<'END'
#!/bin/sh
while [ "$1" != /bin/sh ]; do shift; done
exec "$@"
END
chmod +x "$work"/bin/*
copied() {
    HOME=$work/home PATH=$work/bin:$PATH ANSIBLE_SSH_EXECUTABLE=$work/bin/wrapped-ssh ANSIBLE_TIMEOUT=3 \
        ANSIBLE_SFTP_EXTRA_ARGS=$1 ANSIBLE_LOCALHOST_WARNING=false ANSIBLE_PYTHON_INTERPRETER=/usr/bin/python3 \
        "$work/venv/bin/ansible" all -i host.example, --become -m copy -a "content=$2 dest=$work/copied" 2>&1 || true
}
apart=$(copied "-S $work/bin/wrapped-ssh" apart)
joined=$(copied "-S$work/bin/wrapped-ssh" joined)
echo "$apart" | grep -o 'Timeout ([0-9]*s) waiting for privilege escalation prompt' | head -n 1
echo "$joined" | grep -o 'CHANGED' | head -n 1
test "$(cat "$work/copied")" = joined
echo "still so"
