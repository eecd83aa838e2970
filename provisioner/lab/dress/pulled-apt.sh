# Make a lab host of a registry's image of Debian or Ubuntu: $1 is the user, $2 what to mask, the rest are packages.
set -eu
user=$1 masked=$2
shift 2
export DEBIAN_FRONTEND=noninteractive
# Such an image starts no service that it installs, and forgets what apt has learnt; a server does neither.
rm -f /usr/sbin/policy-rc.d /etc/apt/apt.conf.d/docker-*
cp apt.conf /etc/apt/apt.conf.d/99provision-lab
if [ -s sources.list ]; then
    rm -f /etc/apt/sources.list.d/*
    cp sources.list /etc/apt/sources.list
fi
apt-get -qq update
apt-get -qq --no-install-recommends install "$@" > /dev/null
apt-get clean
rm -rf /var/lib/apt/lists/*
find . -name 'lab-*.crt' -exec install -m 644 -t /usr/local/share/ca-certificates {} +
update-ca-certificates > /dev/null
. ./pulled.sh
