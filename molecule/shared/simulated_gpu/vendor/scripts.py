# SPDX-License-Identifier: Apache-2.0
"""Scripts of the packages, as the vendors' packages have them; pure."""

from __future__ import annotations

from collections.abc import Mapping

# The real scripts of .deb packages pass a failed compilation on. Those of .rpm packages do not, and those of
# the simulated .deb packages only with dkms=refuse, so that a test can have either.
DEB_DKMS = """\
if [ "$1" = configure ]; then
    /usr/lib/dkms/common.postinst {module} {version} "" "" "$2" ||
        ! grep -qsx dkms=refuse /etc/simulated-gpu/state || exit 10
fi
"""
DEB_DKMS_REMOVAL = """\
dkms remove -m {module} -v {version} --all || true
"""
DEB_BLACKLIST = """\
if command -v update-initramfs >/dev/null; then update-initramfs -u; fi
"""
RPM_DKMS = """\
dkms add -m {module} -v {version} -q --rpm_safe_upgrade || :
dkms build -m {module} -v {version} -q --force || :
dkms install -m {module} -v {version} -q --force || :
"""
RPM_DKMS_REMOVAL = """\
dkms remove -m {module} -v {version} -q --all --rpm_safe_upgrade || :
"""
NOUVEAU = "rd.driver.blacklist=nouveau,nova_core modprobe.blacklist=nouveau,nova_core"
RPM_ARGUMENTS = (
    f"grubby --update-kernel=ALL --remove-args='nomodeset nouveau.modeset' --args='{NOUVEAU}' || :"
)
RPM_ARGUMENTS_REMOVAL = f"[ $1 != 0 ] || grubby --update-kernel=ALL --remove-args='{NOUVEAU}' || :"
LINKS = "ldconfig"


def deb_scripts(kind: str, module: str, version: str) -> Mapping[str, str]:
    """Return the scripts of a driver's .deb package."""
    values = {"module": module, "version": version}
    if kind == "dkms":
        return {"postinst": DEB_DKMS.format(**values), "prerm": DEB_DKMS_REMOVAL.format(**values)}
    if kind == "blacklist":
        return {"postinst": DEB_BLACKLIST, "postrm": DEB_BLACKLIST}
    if kind == "libraries":
        return {"postinst": f"{LINKS}\n", "postrm": f"{LINKS}\n"}
    return {}


def rpm_scripts(kind: str, module: str, version: str) -> Mapping[str, str]:
    """Return the scripts of a driver's .rpm package."""
    values = {"module": module, "version": version}
    if kind == "dkms":
        return {"post": RPM_DKMS.format(**values), "preun": RPM_DKMS_REMOVAL.format(**values)}
    if kind == "arguments":
        return {"post": RPM_ARGUMENTS, "postun": RPM_ARGUMENTS_REMOVAL}
    if kind == "libraries":
        return {"post": LINKS, "postun": LINKS}
    return {}
