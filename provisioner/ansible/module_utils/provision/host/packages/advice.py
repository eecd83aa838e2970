# SPDX-License-Identifier: Apache-2.0
"""Advise on what to do about a package manager that failed, by its output; the first cause found counts."""

from __future__ import annotations

import re
from typing import Mapping

from ..fault import CAUSE_LENGTH
from ..outward import trouble

CLOCK, EXPIRED, POLICY, KEY, STREAM, SPACE = "clock", "expired", "policy", "key", "stream", "space"
CERTIFICATE, NETWORK, UNKNOWN, VERSION = "certificate", "network", "unknown", "version"
REMOVAL, CONFLICT, LOCKED, DEPENDENCY, OTHER = "removal", "conflict", "locked", "dependency", "other"
# What a package manager says for each cause.
SAID = {
    CLOCK: r"not valid yet|is not yet valid",
    EXPIRED: r"is expired|Release file expired",
    # Before the key: apt then also says that the repository is not signed.
    POLICY: r"SHA-?1 is not considered secure|Policy rejected (non-revocation )?signature",
    KEY: r"NO_PUBKEY|EXPKEYSIG|KEYEXPIRED|BADSIG|Public key for .* is not installed|GPG check FAILED"
    r"|GPG signature verification error|is not signed",
    STREAM: r"filtered out by modular filtering|excluded by modular",
    SPACE: r"No space left on device|not enough (free )?space|more space needed",
    CERTIFICATE: r"certificate verify failed|SSL certificate problem",
    NETWORK: r"Could not resolve|Temporary failure|Connection (refused|timed out)|Curl error|Failed to fetch"
    r"|Cannot download",
    VERSION: r"Version '.* was not found",
    UNKNOWN: r"Unable to locate|No match for|Unable to find a match|has no installation",
    REMOVAL: r"remove is disabled",
    CONFLICT: r" conflicts with | obsoletes ",
    LOCKED: r"filtered out by exclude filtering|excluded by (versionlock|exclude)",
    DEPENDENCY: r"unmet dependencies|held broken packages|Held packages were changed|nothing provides"
    r"|Unable to satisfy dependencies|conflicting requests|Problem: ",
}
STEPS = {
    CLOCK: "the host's clock is slow: set it, then apply again",
    EXPIRED: "the mirror is out of date, or the host's clock is fast: fix that, then apply again",
    POLICY: "since 2026-02-01 apt's policy refuses keys that are signed with SHA-1, as this one is; it "
    "has not been rotated. Use a mirror or a key with a newer signature; until there is one, copy "
    "/usr/share/apt/default-sequoia.config to /etc/crypto-policies/back-ends/apt-sequoia.config and "
    "set a later date for sha1.second_preimage_resistance there",
    KEY: "the repository is not signed with a key that this host trusts: check the host's package sources",
    STREAM: "a module stream hides the packages: check `dnf module list` on the host",
    SPACE: "free space on the host, then apply again",
    CERTIFICATE: "add the CA certificate to host_base_ca_certificates",
    NETWORK: "check that the host can reach its mirrors (DNS, proxy, firewall), or set another mirror",
    VERSION: "the repository does not have that version: choose another",
    UNKNOWN: "check the package sources of the host and the mirror variables of host_base",
    REMOVAL: "packages would have to be removed, see the log: remove them by hand if no one needs them",
    CONFLICT: "packages exclude each other, see the log: remove by hand the one that no one needs",
    LOCKED: "a lock or an exclusion hides the packages: check `dnf versionlock list`, and `exclude` in "
    "/etc/dnf/dnf.conf and in the repositories",
    DEPENDENCY: "another package requires these at another version: the output in the log shows which",
}


def cause_line(said: str) -> str:
    """Return the line of a package manager's output that shows the cause, empty if none is known."""
    for pattern in SAID.values():
        for line in said.splitlines():
            if re.search(pattern, line):
                return line.strip()[:CAUSE_LENGTH]
    return ""


def advice(said: str, unit: str = "", steps: Mapping[str, str] | None = None) -> str:
    """Return what to do about a failure, by what was said; `steps` replaces the usual advice by cause."""
    found = trouble(said)
    if found:
        return f"{found.says}: {found.step}"
    where = f"read 'journalctl -u {unit}' on the host" if unit else "read its output in the log"
    known = {**STEPS, OTHER: f"{where}, then apply again", **(steps or {})}
    return known[next((cause for cause, pattern in SAID.items() if re.search(pattern, said)), OTHER)]
