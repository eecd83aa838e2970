# Lay Debian's kernel headers where its packages put them, but install no package: those would bring a kernel.
set -eu
work=$(mktemp -d)
cd "$work"
headers=$(apt-cache depends linux-headers-"$(dpkg --print-architecture)" | sed -n 's/^  Depends: //p')
parts=$(apt-cache depends "$headers" | sed -n -E 's/^  Depends: (linux-(headers|kbuild)-.*)$/\1/p')
# shellcheck disable=SC2086  # a list of names
apt-get -qq download "$headers" $parts
for package in ./*.deb; do
    # What lies in /usr/lib/modules makes a kernel look installed, and with vmlinux a build needs pahole.
    dpkg-deb --fsys-tarfile "$package" | tar --extract --directory=/ --keep-directory-symlink \
        --exclude='./usr/lib/modules' --exclude='./usr/share/*' --exclude=vmlinux
done
mkdir -p /usr/lib/modules /usr/lib/provision-stand-in
ln -s "/usr/src/$headers" /usr/lib/provision-stand-in/headers
rm -r "$work"
