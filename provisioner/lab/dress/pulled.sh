# What makes a server of a container's image, whatever its distribution.
id "$user" > /dev/null 2>&1 || useradd --create-home --shell /bin/bash "$user"
install --directory --owner="$user" --group="$user" --mode=700 "/home/$user/.ssh"
install -m 440 sudoers-lab /etc/sudoers.d/sudoers-lab
: > /etc/machine-id
rm -f /etc/ssh/ssh_host_*
# shellcheck disable=SC2086  # a list of words
systemctl --quiet mask $masked
