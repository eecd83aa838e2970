# Dress a Debian root filesystem as the Ubuntu whose os-release lies beside this file; $1 says what it is.
set -eu
dpkg-divert --quiet --local --rename --divert /usr/lib/os-release.debian --add /usr/lib/os-release
cp os-release /usr/lib/os-release
. /usr/lib/os-release
cat > /etc/lsb-release <<end
DISTRIB_ID=Ubuntu
DISTRIB_RELEASE=$VERSION_ID
DISTRIB_CODENAME=$VERSION_CODENAME
DISTRIB_DESCRIPTION="$PRETTY_NAME"
end
printf '%s \\n \\l\n\n' "$PRETTY_NAME" > /etc/issue
printf '%s\n' "$PRETTY_NAME" > /etc/issue.net
# Ubuntu's own archive knows no package of these names.
cat > /etc/apt/preferences.d/provision-stand-in <<end
Package: linux-image-* linux-headers-* linux-kbuild-* src:linux-signed-*
Pin: release o=Debian
Pin-Priority: -1
end
printf '%s\n' "$1" > /etc/provision-stand-in
