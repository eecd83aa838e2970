# SPDX-License-Identifier: Apache-2.0
# Load and unload simulated modules; needs lib.sh and show.sh. `program` is the name for messages.

# load NAME [FILE]
load() {
    is_loaded "$1" && return 0
    file=${2:-$($REAL/modinfo -k "$(kernel)" -n "$1" 2>/dev/null)}
    if [ -z "$file" ]; then
        echo "$program: FATAL: Module $1 not found in directory /lib/modules/$(kernel)" >&2
        return 1
    fi
    for needed in $($REAL/modinfo -F depends "$file" | tr ',' ' '); do
        (load "$(name_of "$needed")") || return 1
    done
    may_load "$1" "$file" || return 1
    {
        echo "file=$file"
        echo "version=$($REAL/modinfo -F version "$file")"
        echo "license=$($REAL/modinfo -F license "$file" | head -n 1)"
        echo "srcversion=$($REAL/modinfo -F srcversion "$file")"
        echo "depends=$($REAL/modinfo -F depends "$file" | tr '-' '_')"
        echo "size=$(stat -c %s "$file")"
    } >"$LOADED/$1"
    [ "$1" = nvidia ] && greet
    show_modules
}

refuse() {
    echo "$program: ERROR: could not insert '$1': $2" >&2
    return 1
}

may_load() {
    magic=$($REAL/modinfo -F vermagic "$2")
    if [ "${magic%% *}" != "$(kernel)" ]; then
        log "$1: version magic '$magic' should be '$(kernel) SMP preempt mod_unload modversions '"
        refuse "$1" "Exec format error"
    elif [ "$(state secure_boot 0)" = 1 ] && ! trusted "$2"; then
        if [ -n "$($REAL/modinfo -F sig_key "$2")" ]; then
            log "Loading of module with unavailable key is rejected"
        else
            log "Loading of unsigned module is rejected"
        fi
        refuse "$1" "Key was rejected by service"
    elif [ "$1" = nvidia ] && [ -z "$(gpus)" ]; then
        log "NVRM: No NVIDIA GPU found."
        refuse "$1" "No such device"
    elif [ "$1" = nvidia ] && is_loaded nouveau; then
        log "NVRM: GPU $(slot 0) is already bound to nouveau."
        log "NVRM: The NVIDIA probe routine was not called for $(gpus | wc -l) device(s)."
        refuse "$1" "No such device"
    fi
}

# What the driver says when it is loaded, above all of the GPUs that it cannot drive.
greet() {
    version=$(field nvidia version) kind=$(flavour)
    log "NVRM: loading NVIDIA UNIX $([ "$kind" = open ] && echo "Open Kernel Module for x86_64" ||
        echo "x86_64 Kernel Module")  $version"
    number=0
    for id in $(gpus); do
        if ! flavour_fits "$id" "$kind" "${version%%.*}"; then
            log "NVRM: The NVIDIA GPU $(slot $number) (PCI ID: 10de:${id#0x})"
            if [ "$kind" = open ]; then
                log "NVRM: installed in this system is not supported by open nvidia.ko because it does not include" \
                    "the required GPU System Processor (GSP)."
            else
                log "NVRM: installed in this system requires use of the NVIDIA open kernel modules."
            fi
        fi
        number=$((number + 1))
    done
}

flavour() { case $(field nvidia license) in NVIDIA) echo proprietary ;; *) echo open ;; esac }

# flavour_fits ID KIND BRANCH: as in state.h of the simulated libraries.
flavour_fits() {
    if [ $(($1)) -lt $((0x1e00)) ]; then
        [ "$2" = proprietary ] && [ "$3" -le 580 ]
    else
        [ "$2" = open ] || { [ $(($1)) -lt $((0x2900)) ] && [ $(($1)) -ne $((0x2342)) ]; }
    fi
}

# unload NAME
unload() {
    if ! is_loaded "$1"; then
        [ "$program" = modprobe ] && return 0
        echo "rmmod: ERROR: Module $1 is not currently loaded" >&2
        return 1
    fi
    if [ "$(refcount "$1")" -gt 0 ]; then
        by=$(users "$1" | tr '\n' ' ')
        if [ "$program" = modprobe ]; then
            echo "modprobe: FATAL: Module $1 is in use." >&2
        else
            echo "rmmod: ERROR: Module $1 is in use${by:+ by: ${by% }}" >&2
        fi
        return 1
    fi
    rm -f "$LOADED/$1"
    show_modules
}

# unload_with_needs NAME: as `modprobe -r`, which takes along what nothing needs any more.
unload_with_needs() {
    is_loaded "$1" || return 0
    needs=$(field "$1" depends | tr ',' ' ')
    unload "$1" || return 1
    for needed in $needs; do
        if is_loaded "$needed" && [ "$(refcount "$needed")" = 0 ]; then
            (unload_with_needs "$needed")
        fi
    done
}
