# SPDX-License-Identifier: Apache-2.0
# Make the files in which a kernel shows its devices and modules; needs lib.sh.

# cover FOLDER: put an empty file system over it.
cover() {
    uncover "$1"
    mount -t tmpfs -o mode=755 simulated-gpu "$1"
}

# replace FILE TEXT: put a file over one of the kernel's.
replace() {
    uncover "$1"
    copy=$RUN/$(echo "$1" | tr '/' '_')
    printf '%s\n' "$2" >"$copy"
    mount --bind "$copy" "$1"
}

uncover() {
    while grep -q "simulated-gpu.* $1 \| $1 .*simulated-gpu" /proc/self/mountinfo; do umount "$1" || break; done
}

# add_device SLOT VENDOR DEVICE CLASS
add_device() {
    mkdir -p "$DEVICES/$1"
    echo "$2" >"$DEVICES/$1/vendor"
    echo "$3" >"$DEVICES/$1/device"
    echo "$4" >"$DEVICES/$1/class"
    echo 0x10de >"$DEVICES/$1/subsystem_vendor"
    echo 0x16c1 >"$DEVICES/$1/subsystem_device"
    echo 0 >"$DEVICES/$1/numa_node"
    printf 'DRIVER=\nPCI_CLASS=%s\nPCI_ID=%s:%s\nPCI_SLOT_NAME=%s\n' "${4#0x0}" "${2#0x}" "${3#0x}" "$1" \
        >"$DEVICES/$1/uevent"
    # The start of the configuration space and the resources, for the real lspci.
    vendor=${2#0x} device=${3#0x} class=${4#0x}
    # shellcheck disable=SC2059 # the bytes are the format
    printf "$(echo "${vendor#??} ${vendor%??} ${device#??} ${device%??} 00 00 00 00 a1 ${class#????}" \
        "$(echo "$class" | cut -c3-4) ${class%????}" | sed 's/ *\([0-9a-fA-F][0-9a-fA-F]\)/\\x\1/g' |
        bytes)" >"$DEVICES/$1/config"
    truncate -s 64 "$DEVICES/$1/config"
    echo 0 >"$DEVICES/$1/irq"
    : >"$DEVICES/$1/resource"
}

# dash's printf knows no \x, only octal.
bytes() {
    sed 's/\\x/ 0x/g' | tr ' ' '\n' | sed '/^$/d' | while read -r byte; do printf '\\%03o' "$byte"; done
}

show_bus() {
    cover $DEVICES
    add_device 0000:00:03.0 0x8086 0x1521 0x020000
    number=0
    for id in $(gpus); do
        add_device "$(slot $number)" 0x10de "$id" 0x030200
        number=$((number + 1))
    done
    count=$(state nvswitches 0)
    while [ "$count" -gt 0 ]; do
        count=$((count - 1))
        add_device "$(printf '0000:%02x:00.0' $((0xc0 + count)))" 0x10de 0x22a3 0x068000
    done
}

show_modules() {
    : >$RUN/modules
    rm -rf $RUN/new && mkdir -p $RUN/new
    for name in $SIMULATED; do
        rm -rf "/sys/module/$name"
        is_loaded "$name" || continue
        by=$(users "$name" | tr '\n' ',') count=$(refcount "$name")
        echo "$name $(field "$name" size) $count ${by:--} Live 0xffffffffc0000000" >>$RUN/modules
        mkdir -p "/sys/module/$name/holders"
        for user in $(users "$name"); do mkdir -p "/sys/module/$name/holders/$user"; done
        echo "$count" >"/sys/module/$name/refcnt"
        echo live >"/sys/module/$name/initstate"
        field "$name" version >"/sys/module/$name/version"
        field "$name" srcversion >"/sys/module/$name/srcversion"
        field "$name" size >"/sys/module/$name/coresize"
    done
    for name in ext4 nvme xfs; do echo "$name 49152 1 - Live 0xffffffffc0000000" >>$RUN/modules; done
    # A kernel without loadable modules has no such file, and nothing can be put where nothing is.
    if [ -e /proc/modules ] && ! grep -q ' /proc/modules ' /proc/self/mountinfo; then
        mount --bind $RUN/modules /proc/modules
    fi
    show_binding
    show_driver
}

# The driver that each GPU is bound to.
show_binding() {
    number=0 driver=
    is_loaded nouveau && driver=nouveau
    is_loaded nvidia && driver=nvidia
    mkdir -p $RUN/drivers/nouveau $RUN/drivers/nvidia
    for id in $(gpus); do
        rm -f "$DEVICES/$(slot $number)/driver"
        [ -z "$driver" ] || ln -s "$RUN/drivers/$driver" "$DEVICES/$(slot $number)/driver"
        number=$((number + 1))
    done
}

show_driver() {
    for name in nvidia_uvm nvidia_modeset; do is_loaded $name || rm -f /dev/$(echo $name | tr _ -)*; done
    if ! is_loaded nvidia; then
        rm -rf /dev/nvidia* /proc/driver/nvidia /proc/driver/nvidia-nvswitch
        return
    fi
    mkdir -p /proc/driver/nvidia/gpus
    version=$(field nvidia version)
    case $(field nvidia license) in
        NVIDIA) kind="x86_64 Kernel Module  $version  Thu Jan  1 00:00:00 UTC 2026" ;;
        *) kind="Open Kernel Module for x86_64  $version  Release Build  (simulated)" ;;
    esac
    printf 'NVRM version: NVIDIA UNIX %s\nGCC version:  gcc version 14.2.0 (Debian 14.2.0-19)\n' "$kind" \
        >/proc/driver/nvidia/version
    number=0
    for id in $(gpus); do
        mkdir -p "/proc/driver/nvidia/gpus/$(slot $number)"
        printf 'Model: \t\t Simulated\nDevice Minor: \t %s\n' $number \
            >"/proc/driver/nvidia/gpus/$(slot $number)/information"
        device "nvidia$number"
        number=$((number + 1))
    done
    if [ "$(state nvswitches 0)" -gt 0 ]; then
        mkdir -p /proc/driver/nvidia-nvswitch/devices
        for link in "$DEVICES"/0000:c*; do : >"/proc/driver/nvidia-nvswitch/devices/${link##*/}"; done
        device nvidia-nvswitchctl
    fi
    device nvidiactl
    if is_loaded nvidia_uvm; then device nvidia-uvm && device nvidia-uvm-tools; fi
    if is_loaded nvidia_modeset; then device nvidia-modeset; fi
}

# Ordinary files: a container may not open the device, and who has it open is seen all the same.
device() { [ -e "/dev/$1" ] || install -m 666 /dev/null "/dev/$1"; }
