# Give the dnf base the release whose os-release lies beside this file; $1 says what it is.
set -eu
. ./os-release
major=${VERSION_ID%%.*}
release="Rocky Linux release ${VERSION}"
top=$PWD/rpm
mkdir -p "$top"
libraries=$(for library in libc.so.6 ld-linux-*.so.? libm.so.6 libdl.so.2 libpthread.so.0 librt.so.1 libgcc_s.so.1 libstdc++.so.6; do
    find /usr/lib -maxdepth 2 -name "$library" -exec /usr/lib/rpm/elfdeps --provides {} \;
done | sort -u)
printf '%s\n' "$libraries" | sed 's/^/Provides: /' > libraries.inc
rpmbuild --quiet -bb --define "_topdir $top" --define "_sourcedir $PWD" --define "here $PWD" \
    --define "major $major" --define "full $VERSION_ID" --define "line $release" rocky-release.spec
# Debian's, which rpm knows nothing of and would not replace.
rm -f /etc/os-release /usr/lib/os-release
rpm --install --nosignature "$top"/RPMS/*/*.rpm
if [ "$major" -lt 10 ]; then
    mkdir -p /usr/libexec
    if [ "$major" = 8 ]; then
        # The real one has Python 3.6 there.
        install -m 0755 platform-python /usr/libexec/platform-python
    else
        ln -s /usr/bin/python3 /usr/libexec/platform-python
    fi
fi
printf '%s\n' "$1" > /etc/provision-stand-in
