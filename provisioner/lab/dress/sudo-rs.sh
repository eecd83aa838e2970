# Make sudo-rs the system's sudo, as Ubuntu does since 25.10; the older one has the name that it has there.
set -eu
dpkg-divert --quiet --local --rename --divert /usr/bin/sudo.ws --add /usr/bin/sudo
ln -s sudo-rs /usr/bin/sudo
