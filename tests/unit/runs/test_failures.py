# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from provisioner.runs.failures import explain, hint

SSH = "Task failed: Failed to connect to the host via ssh: "
CHANGED = (
    SSH + "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\n"
    "Offending ED25519 key in /home/me/known hosts:12\r\n"
    "Host key for [192.0.2.5]:2201 has changed and you have requested strict checking.\r\n"
    "Host key verification failed."
)


def test_a_changed_host_key_names_the_line_and_the_command() -> None:
    reason, way_out = explain(CHANGED, "gpu1")
    assert "[192.0.2.5]:2201" in reason
    assert "/home/me/known hosts line 12" in reason
    assert "find out why first" in way_out
    assert "ssh-keygen -f '/home/me/known hosts' -R '[192.0.2.5]:2201'" in way_out


def test_a_changed_host_key_without_details_still_has_a_command() -> None:
    reason, way_out = explain("REMOTE HOST IDENTIFICATION HAS CHANGED", "gpu1; reboot")
    assert "host key" in reason
    assert way_out.endswith("ssh-keygen -R 'gpu1; reboot'")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("No ED25519 host key is known for x and you have requested strict checking.", "key is not known"),
        ("ssh: connect to host 192.0.2.7 port 22: Connection refused", "(192.0.2.7 port 22)"),
        ("ssh: connect to host 192.0.2.7 port 22: Connection timed out", "did not answer in time"),
        ("ssh: connect to host 192.0.2.7 port 22: No route to host", "not reachable over the network"),
        ("ssh: Could not resolve hostname gpu1: Name or service not known", "cannot be resolved"),
        ("root@gpu1: Permission denied (publickey,password).", "login was refused"),
        ("Received disconnect: Too many authentication failures", "too many keys"),
        (
            "WARNING: UNPROTECTED PRIVATE KEY FILE!\nroot@gpu1: Permission denied (publickey).",
            "others may read it",
        ),
        ("kex_exchange_identification: read: Connection reset by peer", "closed by the other side"),
        ("The ECDSA host key for x is marked as revoked.\nHost key verification failed.", "as revoked"),
        ("Certificate invalid: expired\nHost key verification failed.", "certificate is not valid now"),
        ("Certificate invalid: name is not a listed principal\nNo ECDSA host key is known", "another name"),
        ("Timeout (12s) waiting for privilege escalation prompt: ", "becoming root timed out"),
        ("channel 0: open failed: connect failed: \nstdio forwarding failed", "jump host cannot connect"),
        ("channel 0: open failed: administratively prohibited: x\nstdio forwarding failed", "not allow"),
        ("Failed to create temporary directory. Exit status 1", "temporary directory"),
        ("something new\nover two lines", "something new over two lines"),
        ("", "no reason given"),
    ],
)
def test_each_reason_is_one_line_with_a_way_out(said: str, reason: str) -> None:
    told, way_out = explain(SSH + said if said else "", "gpu1")
    assert reason in told
    assert "\n" not in told
    assert way_out


@pytest.mark.parametrize(
    ("said", "step"),
    [
        ("Missing sudo password", "--ask-become-pass"),
        ("Incorrect sudo password", "the right password"),
        ("/bin/sh: 1: python3: not found", "install python3"),
        ("Attempting to decrypt but no vault secrets found", "--ask-vault-pass"),
    ],
)
def test_a_failed_login_step_has_a_hint(said: str, step: str) -> None:
    assert step in str(hint(said))


def test_no_hint_is_made_up() -> None:
    assert hint("the port is taken") is None
