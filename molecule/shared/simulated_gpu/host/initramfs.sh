# SPDX-License-Identifier: Apache-2.0
# Tell which kernel boots next and whether nouveau comes up with it; needs lib.sh.

next_kernel() {
    wanted=$(state kernel)
    [ -n "$wanted" ] || { [ -e /boot/grub2/simulated-default ] && wanted=$(cat /boot/grub2/simulated-default); }
    if [ -n "$wanted" ] && [ -e "/boot/vmlinuz-$wanted" ]; then
        echo "$wanted"
    else
        kernels | tail -n 1
    fi
}

# The kernels in /boot, oldest first.
kernels() { ls /boot 2>/dev/null | sed -n '/rescue/d; s/^vmlinuz-//p' | sort --version-sort; }

# arguments KERNEL: what its boot entry says.
arguments() { sed -n 's/^options //p' "/boot/loader/entries/simulated-$1.conf" 2>/dev/null; }

# says_no NAME FOLDER...: some file there keeps the module from being loaded on its own.
says_no() {
    module=$1 && shift
    cat $(find "$@" -name '*.conf' 2>/dev/null) /dev/null |
        grep -Eq "^[[:space:]]*(blacklist[[:space:]]+$module[[:space:]]*$|install[[:space:]]+$module[[:space:]]+/)"
}

is_blacklisted() { says_no "$1" /etc/modprobe.d/ /run/modprobe.d/ /usr/lib/modprobe.d/; }

# The kernel's arguments: rd.driver.blacklist holds in the initramfs, modprobe.blacklist everywhere.
argued_away() {
    arguments "$1" | tr ' ' '\n' | grep -E "^(modprobe\.blacklist|$3)=" | tr '=,' '\n\n' | grep -qx "$2"
}

nouveau_comes() {
    $REAL/modinfo -k "$1" -n nouveau >/dev/null 2>&1 || return 1
    image=
    for file in "/boot/initrd.img-$1" "/boot/initramfs-$1.img"; do [ -e "$file" ] && image=$file; done
    if [ -n "$image" ] && ! argued_away "$1" nouveau 'rd\.driver\.blacklist' && image_loads_nouveau "$image"; then
        return 0
    fi
    ! is_blacklisted nouveau && ! argued_away "$1" nouveau 'modprobe\.blacklist'
}

# Unpacking takes a second, so the answer is kept for as long as the image is the same.
image_loads_nouveau() {
    mkdir -p /var/lib/simulated-gpu
    print=$(stat -c '%n %s %Y %i' "$1")
    known=/var/lib/simulated-gpu/$(basename "$1")
    if [ "$(sed -n 1p "$known" 2>/dev/null)" != "$print" ]; then
        answer=no
        folder=$(mktemp -d)
        unpack "$1" "$folder"
        if find "$folder" -name 'nouveau.ko*' | grep -q . &&
            ! says_no nouveau "$folder" ; then
            answer=yes
        fi
        rm -rf "$folder"
        printf '%s\n%s\n' "$print" "$answer" >"$known"
    fi
    [ "$(sed -n 2p "$known")" = yes ]
}

unpack() {
    if command -v unmkinitramfs >/dev/null; then
        unmkinitramfs "$1" "$2"
    else
        (cd "$2" && lsinitrd --unpack "$1") >/dev/null
    fi
}
