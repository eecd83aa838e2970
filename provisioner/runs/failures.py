# SPDX-License-Identifier: Apache-2.0
"""Turn failed results into failures with a next step; explains messages of ssh and Ansible."""

from __future__ import annotations

import re
import shlex

from provisioner.plain import clean, one_line
from provisioner.runs import report as r
from provisioner.runs.events import Result

SHIPPED = re.compile(r"^.*/(?=(?:roles|playbooks)/)")
HIDDEN = "the details are hidden because the task may show secrets"
KEY_CHANGED = re.compile(r"REMOTE HOST IDENTIFICATION HAS CHANGED|[Hh]ost key for \S+ has changed")
OFFENDING = re.compile(r"Offending (?:\S+ )?key in (?P<file>[^\n]+?):(?P<line>\d+)")
CHANGED_NAME = re.compile(r"[Hh]ost key for (?P<name>\S+) has changed")
ENDPOINT = re.compile(r"connect to host (?P<name>\S+) port (?P<port>\d+)")
CHECK_LOGIN = (
    "check ansible_user and ansible_ssh_private_key_file; where only a password works, run it with --ask-pass"
)

# How the sentences begin that say what to do, in messages of asserts: these have no key of their own for it.
REMEDY = re.compile(
    r"(?:(?<=[.)] )(?:Use|Set|Write|Run|Update|From|Let|Correct|Remove|Free|Check|Start|Next:|To fix it,)"
    r"|(?<=[:;] )(?:set|use)) .*",
    re.DOTALL,
)
# Where not even that is known: a task of Ansible's own.
LOOK = "read what this task reports in the log of the run, fix that, then run the same command again"

# The first pattern that matches gives the reason and the next step.
BECOME_SLOW = "becoming root timed out"
SUDO_WAITS = "see what sudo waits for, such as a name service or a PAM module: `time sudo true` on the host"
KNOWN: tuple[tuple[str, str, str], ...] = (
    (
        r"waiting for privilege escalation prompt",
        BECOME_SLOW,
        f"{SUDO_WAITS}; where it is only slow, raise ansible_timeout",
    ),
    (
        r"[Hh]ost key for \S+ is (?:marked as )?revoked",
        "the SSH host key is marked as revoked in a known_hosts file; refused",
        "give the host a new key, or find out who answers at its address",
    ),
    (
        r"Certificate invalid: name is not",
        "the host's SSH certificate is for another name; refused",
        "use a name that the certificate lists: in ansible_host, or as HostKeyAlias in the ssh configuration",
    ),
    (
        r"Certificate invalid: ",
        "the host's SSH certificate is not valid now; refused",
        "have the host's key signed again, or compare the clocks; `ssh-keygen -L -f` shows its dates",
    ),
    (
        r"Host key verification failed|host key is known|authenticity of host",
        "the SSH host key is not known and unknown keys are refused",
        "connect once with ssh, compare the fingerprint with the host's own, accept it, then run this again",
    ),
    (
        r"UNPROTECTED PRIVATE KEY FILE|bad permissions",
        "ssh ignores the private key because others may read it",
        "chmod 600 the key file, then run this again",
    ),
    (
        r"Too many authentication failures",
        "the SSH login was refused: too many keys were offered",
        "name the key in ansible_ssh_private_key_file and set IdentitiesOnly yes in the ssh configuration",
    ),
    (
        r"Permission denied|Authentication failed|Invalid/incorrect password",
        "the SSH login was refused",
        CHECK_LOGIN + " (`provision status` shows the command that puts a key there)",
    ),
    (
        r"Connection refused",
        "nothing listens on the SSH port",
        "start sshd on the host, or correct ansible_host and ansible_port",
    ),
    (
        r"Could not resolve hostname|Name or service not known|nodename nor servname",
        "the host's name cannot be resolved",
        "correct ansible_host or the host's name in the inventory, or fix DNS",
    ),
    (
        r"No route to host|Network is unreachable|Host is down",
        "the host is not reachable over the network",
        "check that it is switched on, and check the network or VPN between this machine and the host",
    ),
    (
        r"timed out|Timeout|not responding",
        "the host did not answer in time",
        "check that it is switched on and that no firewall drops the SSH port",
    ),
    (
        r"open failed: administratively prohibited",
        "the jump host does not allow connections through it",
        "allow it in the jump host's sshd_config: `AllowTcpForwarding local`",
    ),
    (
        r"stdio forwarding failed",
        "the jump host cannot connect to the host",
        "check ansible_host and ansible_port as the jump host sees them, and the firewall between both",
    ),
    (
        r"kex_exchange_identification|Connection closed|reset by peer|Broken pipe|closed by remote host",
        "the SSH connection was closed by the other side",
        "look at sshd's journal on the host; a reboot, MaxStartups or a ban of this address does this",
    ),
    (
        r"Failed to create temporary directory|No space left on device",
        "the login works but no temporary directory can be made there",
        "free disk space in the login user's home and /tmp, and check their permissions",
    ),
)
WRONG_SUDO = "run it with --ask-become-pass and the right password, or correct ansible_become_password"
HINTS: tuple[tuple[str, str], ...] = (
    (r"Missing sudo password|password is required", "run it with --ask-become-pass"),
    (r"Incorrect sudo password|sudo: .*incorrect", WRONG_SUDO),
    (r"sudo: .*not found|sudo: not found", "install sudo on the host, or log in as root"),
    (r"not in the sudoers|may not run sudo", "give the login user sudo rights, or log in as root"),
    (r"python\S*: (?:command )?not found|[Nn]o python interpreters", "install python3 on the host"),
    (r"install the sshpass program", "install sshpass here, or use an SSH key"),
    (r"Attempting to decrypt but no vault secrets", "run it with --ask-vault-pass or --vault-password-file"),
)


def failure_of(event: Result) -> r.Failure:
    """Return the failure in a result, with the module's next step or one for its message."""
    message, step = event.msg.strip(), event.provision.next
    if event.status == r.UNREACHABLE:
        message, advice = explain(message, event.host)
        step = step or advice
    return r.Failure(
        host=event.host,
        phase=event.phase,
        task=event.task,
        where=shipped(event.path),
        message=message or HIDDEN,
        next=step or hint(event.msg) or remedy(event.msg) or LOOK,
        kind=event.status,
        item=event.item,
        consent=event.provision.consent,
        detail=event.provision.detail or "",
    )


def remedy(message: str) -> str | None:
    """Return the sentences of a message that say what to do, which messages of roles end with."""
    found = REMEDY.search(message)
    return message[found.start() :].strip() if found else None


def cause(failure: r.Failure) -> str:
    """Return the message without the sentences that are its next step."""
    step = failure.next or ""
    whole = failure.message.removesuffix(step)
    return whole.rstrip() or failure.message


def shipped(path: str) -> str:
    """Return the part of a path and line below the folder that holds roles and playbooks."""
    return SHIPPED.sub("", path)


def explain(message: str, host: str) -> tuple[str, str]:
    """Return the reason in one line and the next step, for a message about an unreachable host."""
    if KEY_CHANGED.search(message):
        return _key_changed(message, host)
    endpoint = ENDPOINT.search(message)
    where = f" ({endpoint['name']} port {endpoint['port']})" if endpoint else ""
    for pattern, reason, way_out in KNOWN:
        if re.search(pattern, message):
            return reason + where, way_out
    said = one_line(message) or "no reason given"
    return f"no answer over SSH: {said}", "check that ssh to the host works by hand"


def hint(message: str) -> str | None:
    """Return the next step for a failure of logging in or becoming root, or None for any other."""
    return next((step for pattern, step in HINTS if re.search(pattern, message)), None)


def _key_changed(message: str, host: str) -> tuple[str, str]:
    text = clean(message)
    offending, named = OFFENDING.search(text), CHANGED_NAME.search(text)
    name = named["name"] if named else host
    remove = f"ssh-keygen -R {shlex.quote(name)}"
    known = ""
    if offending:
        known = f" (known key: {offending['file']} line {offending['line']})"
        remove = f"ssh-keygen -f {shlex.quote(offending['file'])} -R {shlex.quote(name)}"
    reason = f"the SSH host key of {name} is not the one seen before{known}; refused"
    doubt = "find out why first: reinstalled, another machine at this address, or someone in between?"
    return reason, f"{doubt} If the new key is right, remove the old one: {remove}"
