#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Guess:    `python -m ansible adhoc` and `ansible` are the same program, so a password reaches ssh with both.
# Seen:     ansible-core 2.19.14 hands a password to ssh by SSH_ASKPASS, for which it takes the file `ansible` beside its own
#           argv[0], and else the bare word `ansible`. Started as a module, argv[0] is a file of the package, so ssh looks for a
#           program of that name on the PATH; where a virtual environment is used without being activated there is none, ssh
#           prints "exec(ansible): No such file or directory", and the login is refused as if the password were wrong.
# Matters:  programs that start Ansible with `sys.executable -m ansible`, and hosts with a login by password.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet ansible-core==2.19.14
# A stand-in for ssh that says which program would ask for the password.
cat > "$work/ssh" <<END
#!/bin/sh
echo "\$SSH_ASKPASS" >> "$work/asked"
exit 255
END
chmod +x "$work/ssh"
asked() {
    rm -f "$work/asked"
    PATH=/usr/bin:/bin ANSIBLE_SSH_EXECUTABLE=$work/ssh ANSIBLE_HOST_KEY_CHECKING=false \
        "$@" all -i host.example, -e ansible_password=made-up -m raw -a true > "$work/log" 2>&1 || true
    sed "s#$work#WORK#;q" "$work/asked"
}
program=$(asked "$work/venv/bin/ansible")
module=$(asked "$work/venv/bin/python" -m ansible adhoc)
echo "ansible:                $program"
echo "python -m ansible adhoc: $module"
test "$program" = WORK/venv/bin/ansible
test "$module" = ansible
echo "still so"
