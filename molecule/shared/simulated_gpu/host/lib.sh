# SPDX-License-Identifier: Apache-2.0
# What the programs of the simulated hardware share. The host has no such hardware: the files that the kernel would
# show are made from /etc/simulated-gpu/state, and "loaded" modules are files in $LOADED.
STATE=/etc/simulated-gpu/state
LIB=/usr/lib/simulated-gpu
REAL=$LIB/real
RUN=/run/simulated-gpu
LOADED=$RUN/loaded
LOG=$RUN/dmesg
DEVICES=/sys/bus/pci/devices
FIRST_BUS=27
SIMULATED="nvidia nvidia_modeset nvidia_drm nvidia_uvm nouveau"

# state KEY [DEFAULT]
state() {
    value=$(sed -n "s/^$1=//p" $STATE 2>/dev/null | head -n 1)
    printf '%s\n' "${value:-$2}"
}

kernel() { cat /proc/sys/kernel/osrelease; }

log() {
    read -r seconds _ </proc/uptime
    printf '[%12s000] %s\n' "$seconds" "$*" >>$LOG
}

# The device ids of the GPUs on the bus, one a line.
gpus() {
    ids=$(state device_ids)
    if [ -n "$ids" ]; then
        echo "$ids" | tr ', ' '\n\n' | sed '/^$/d'
    else
        count=$(state gpus 1) id=$(state device_id 0x2330)
        while [ "$count" -gt 0 ]; do echo "$id"; count=$((count - 1)); done
    fi
}

# slot NUMBER: the address of a device, counted from the first GPU.
slot() { printf '0000:%02x:00.0\n' $((FIRST_BUS + $1)); }

is_simulated() {
    case " $SIMULATED " in *" $1 "*) return 0 ;; *) return 1 ;; esac
}

name_of() { basename "$1" | sed 's/\.ko\(\.[a-z]*\)*$//; s/-/_/g'; }

is_loaded() { [ -e "$LOADED/$1" ]; }

# field MODULE NAME: what was noted when the module was loaded.
field() { sed -n "s/^$2=//p" "$LOADED/$1"; }

# users MODULE: the loaded modules that need it.
users() {
    for file in "$LOADED"/*; do
        [ -e "$file" ] || continue
        case ",$(sed -n 's/^depends=//p' "$file")," in *",$1,"*) basename "$file" ;; esac
    done
}

# holders MODULE: the processes that have its device open.
holders() {
    case $1 in
        nvidia) pattern='/dev/nvidia\(ctl\|[0-9]*\)' ;;
        nvidia_uvm) pattern='/dev/nvidia-uvm.*' ;;
        nvidia_modeset) pattern='/dev/nvidia-modeset' ;;
        *) return ;;
    esac
    # A process may end meanwhile.
    find /proc/[0-9]*/fd -lname '/dev/nvidia*' -printf '%p %l\n' 2>/dev/null |
        sed -n "s#^/proc/\([0-9]*\)/.* $pattern\$#\1#p" | sort -u
}

refcount() { echo $(($(users "$1" | wc -l) + $(holders "$1" | wc -l))); }

# trusted FILE: with Secure Boot, the key that signed a module is in the kernel or enrolled by the owner.
trusted() {
    serial=$($REAL/modinfo -F sig_key "$1" | tr -d ':')
    [ -n "$serial" ] || return 1
    for key in /usr/share/simulated-kernel/*.der /etc/simulated-gpu/mok/*.der; do
        [ -e "$key" ] || continue
        [ "$(openssl x509 -inform DER -in "$key" -noout -serial)" = "serial=$serial" ] && return 0
    done
    return 1
}
