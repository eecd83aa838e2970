# Install Debian's packages "$@" in an image, then run the script finish.sh while apt's lists are still there.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
# Nothing is lost with a machine that loses its power while it builds an image.
apt-get -qq --no-install-recommends -o Dpkg::Options::=--force-unsafe-io install "$@" > /dev/null
sh ./finish.sh
apt-get clean
rm -rf /var/lib/apt/lists
