#!/bin/sh
# A stand-in for NVIDIA's driver runfile: it installs the simulated driver that follows the last line.
set -e
version=@VERSION@
log=/var/log/nvidia-installer.log
silent= dkms= type= verb=install kernel=$(uname -r) nouveau_checked=1 load=1
for word in "$@"; do
    case $word in
        -s | --silent) silent=1 ;;
        --dkms) dkms=1 ;;
        --no-dkms) dkms= ;;
        --kernel-module-type=*) type=${word#*=} ;;
        -M=*) type=${word#*=} ;;
        --uninstall) verb=uninstall ;;
        --kernel-name=*) kernel=${word#*=} ;;
        --print-recommended-kernel-module-type) verb=recommend ;;
        --log-file-name=*) log=${word#*=} ;;
        --version | -v) echo "nvidia-installer:  version $version  (simulated)"; exit 0 ;;
        --check) echo "Verifying archive integrity... OK"; exit 0 ;;
        --help | -h | -A | --advanced-options)
            echo "--silent --no-questions --dkms --kernel-module-type=<open|proprietary> --uninstall (simulated)"
            echo "--no-nouveau-check --skip-module-load --allow-installation-with-running-driver"; exit 0 ;;
        --no-nouveau-check) nouveau_checked= ;;
        --skip-module-load) load= ;;
        --no-questions | --accept-license | --ui=none | --no-x-check | --rebuild-initramfs | \
            --no-rebuild-initramfs | --no-install-compat32-libs | --no-opengl-files | --no-drm | \
            --no-check-for-alternate-installs | --allow-installation-with-running-driver | --disable-nouveau | \
            --no-disable-nouveau | --no-libglx-indirect | --no-install-libglvnd | --systemd | --no-systemd | -Z | -j* | \
            --concurrency-level=* | --tmpdir=* | --x-*=* | --no-kernel-modules | \
            --kernel-source-path=* | --module-signing-*=*) ;;
        *) echo "nvidia-installer: invalid option: '$word'" >&2; exit 1 ;;
    esac
done
say() { echo "$*" >>"$log"; }
fail() { say "ERROR: $*"; echo "ERROR: $*" >&2; echo "ERROR: Installation has failed.  Please see the file '$log' for details." >&2; exit 1; }
recommended() {
    for file in /sys/bus/pci/devices/*/device; do
        [ "$(cat "${file%device}vendor")" = 0x10de ] || continue
        [ $(($(cat "$file"))) -ge $((0x1e00)) ] || { echo proprietary; return; }
    done
    echo open
}
[ "$verb" != recommend ] || { recommended; exit 0; }
[ "$(id -u)" = 0 ] || { echo "ERROR: nvidia-installer must be run as root" >&2; exit 1; }
[ "$verb" != uninstall ] || { [ ! -x /usr/bin/nvidia-uninstall ] || exec /usr/bin/nvidia-uninstall --silent; exit 0; }
[ -n "$silent" ] || { echo "the simulated installer only runs with --silent" >&2; exit 1; }
: >"$log"
say "nvidia-installer log file '$log' (simulated)"
say "creation time: $(date)"
say "installer version: $version"
type=${type:-$(recommended)}
case $type in open | proprietary) ;; *) fail "Invalid kernel module type '$type'" ;; esac
[ -z "$nouveau_checked" ] || [ ! -e /sys/module/nouveau ] ||
    fail "The Nouveau kernel driver is currently in use by your system.  This driver is incompatible with the NVIDIA driver, and must be disabled before proceeding."
! [ -e /sys/module/nvidia/refcnt ] || [ "$(cat /sys/module/nvidia/refcnt)" = 0 ] ||
    case " $* " in *" --allow-installation-with-running-driver "*) ;; *)
        fail "An NVIDIA kernel module 'nvidia' appears to be already loaded in your kernel." ;; esac
command -v gcc >/dev/null || fail "Unable to find the development tool \`cc\` in your path"
[ -e "/lib/modules/$kernel/build/include" ] ||
    fail "Unable to find the kernel source tree for the currently running kernel. Please make sure you have installed the kernel source files for your kernel and that they are properly configured; on Red Hat Linux systems, for example, be sure you have the 'kernel-source' or 'kernel-devel' RPM installed."
work=$(mktemp -d)
tail -n +"$(($(sed -n '/^# The archive/=' "$0" | tail -n 1) + 1))" "$0" | base64 -d | tar -xz -C "$work"
libraries=/usr/lib/x86_64-linux-gnu
[ ! -e /etc/redhat-release ] || libraries=/usr/lib64
[ ! -x /usr/bin/nvidia-uninstall ] || /usr/bin/nvidia-uninstall --silent
mkdir -p -m 700 /var/lib/nvidia
{ echo "$version"; echo "NVIDIA Accelerated Graphics Driver for Linux-x86_64 ($version), simulated"; } >/var/lib/nvidia/log
chmod 600 /var/lib/nvidia/log
keep() { # keep SOURCE TARGET MODE
    install -D -m "$3" "$1" "$2"
    echo "1: $2" >>/var/lib/nvidia/log
}
link() { # link TARGET PATH
    ln -sfn "$1" "$2"
    echo "0: $2" >>/var/lib/nvidia/log
}
for name in libnvidia-ml libcuda; do
    keep "$work/$name.so" "$libraries/$name.so.$version" 644
    link "$name.so.$version" "$libraries/$name.so.1"
done
for name in nvidia-smi nvidia-persistenced nvidia-modprobe; do keep "$work/$name" "/usr/bin/$name" 755; done
keep "$work/nvidia-uninstall" /usr/bin/nvidia-uninstall 755
link nvidia-uninstall /usr/bin/nvidia-installer
[ ! -e /etc/redhat-release ] || echo "$libraries" >/etc/ld.so.conf.d/simulated-lib64.conf
ldconfig
printf 'blacklist nouveau\noptions nouveau modeset=0\n' >/usr/lib/modprobe.d/nvidia-installer-disable-nouveau.conf
echo "1: /usr/lib/modprobe.d/nvidia-installer-disable-nouveau.conf" >>/var/lib/nvidia/log
rm -rf "/usr/src/nvidia-$version"
cp -r "$work/source-$type" "/usr/src/nvidia-$version"
rm -rf "$work"
say "-> Kernel module type: $type; kernel $kernel"
if [ -n "$dkms" ] && command -v dkms >/dev/null; then
    say "-> Installing DKMS kernel module:"
    dkms add -m nvidia -v "$version" >>"$log" 2>&1 || true
    dkms build -m nvidia -v "$version" -k "$kernel" >>"$log" 2>&1 || fail "Failed to run \`/usr/sbin/dkms build -m nvidia -v $version -k $kernel\`"
    dkms install -m nvidia -v "$version" -k "$kernel" --force >>"$log" 2>&1 || fail "Failed to install the kernel module through DKMS"
else
    say "-> Building kernel modules"
    make -C "/usr/src/nvidia-$version" "KERNEL_UNAME=$kernel" modules >>"$log" 2>&1 || fail "An error occurred while performing the step: \"Building kernel modules\"."
    for file in "/usr/src/nvidia-$version"/*.ko; do keep "$file" "/lib/modules/$kernel/kernel/drivers/video/${file##*/}" 644; done
    depmod "$kernel"
fi
[ -z "$load" ] || modprobe nvidia 2>>"$log" || say "WARNING: the module could not be loaded; a reboot may be needed"
say "-> Installation of the NVIDIA Accelerated Graphics Driver for Linux-x86_64 (version: $version) is now complete."
exit 0
# The archive follows.
