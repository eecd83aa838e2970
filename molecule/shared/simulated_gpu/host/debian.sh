# SPDX-License-Identifier: Apache-2.0
# Give a bare Debian what a machine with a kernel has, and keep the archive's own kernels away: the simulated ones have
# their names. Needs headers.sh, which brings what modules are compiled against.
if [ ! -e /usr/lib/provision-stand-in/headers ]; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    apt-get -qq --no-install-recommends install initramfs-tools kmod mokutil openssl pciutils xz-utils zstd >/dev/null
    (. $LIB/headers.sh)
    cat >/etc/apt/preferences.d/simulated-kernel <<end
Package: linux-image-* linux-headers-* linux-kbuild-* src:linux-signed-*
Pin: release o=Debian
Pin-Priority: -1
end
fi
