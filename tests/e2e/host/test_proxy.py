# SPDX-License-Identifier: Apache-2.0
"""A host whose only way out is a proxy with a password, and which resolves no outside name."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.e2e.host.conftest import HOST
from tests.e2e.machines import Machines

PASSWORD = "pa55-of-the-proxy"
PROXY = {"host_base_proxy": {"http": f"http://me:{PASSWORD}@127.0.0.1:8888"}, "host_base_packages": ["tree"]}
# The proxy is on the host itself, and its user is the only one that gets out and resolves names.
CLOSE = f"""\
set -e
apt-get -qq update
apt-get -qq -y --no-install-recommends install nftables tinyproxy > /dev/null 2>&1
systemctl disable --quiet --now tinyproxy
printf 'Port 8888\\nListen 127.0.0.1\\nBasicAuth me {PASSWORD}\\n' > /etc/tinyproxy/lab.conf
cp /etc/resolv.conf /etc/tinyproxy/resolv.conf
names=/etc/tinyproxy/resolv.conf:/etc/resolv.conf
systemd-run --quiet --unit=lab-proxy --uid=tinyproxy --property=BindReadOnlyPaths=$names \
    tinyproxy -d -c /etc/tinyproxy/lab.conf
: > /etc/resolv.conf
nft -f - << END
table inet lab {{
  chain output {{
    type filter hook output priority 0; policy drop;
    oif lo accept
    ct state established,related accept
    meta skuid tinyproxy accept
  }}
}}
END
apt-get -qq -y purge 'python3*' 'libpython3*' > /dev/null 2>&1
rm -rf /var/lib/apt/lists/*
"""
OPEN = """\
nft delete table inet lab
rm -f /etc/apt/apt.conf.d/95provision-proxy /etc/provision/proxy.env
cat /etc/tinyproxy/resolv.conf > /etc/resolv.conf
systemctl stop lab-proxy
apt-get -qq -y purge tinyproxy nftables > /dev/null 2>&1
command -v python3 || { apt-get -qq update && apt-get -qq -y install python3-minimal; } > /dev/null 2>&1
"""
# What contains the password: files, each with its mode, and the journal.
HOLDERS = f"""
find /etc /var /run /opt /root /home /usr/local /tmp -xdev -type f ! -path '*/tinyproxy/*' -size -4M \
    -exec grep -lZ {PASSWORD} {{}} + | xargs -0 -r stat -c '%a %n'
journalctl --quiet --no-pager | grep -c {PASSWORD} > /dev/null && echo the journal
exit 0
"""


@pytest.fixture
def closed(machines: Machines) -> Iterator[Machines]:
    """Give the host without Python, names and a way out but for the proxy."""
    machines.sh(HOST, CLOSE)
    yield machines
    machines.sh(HOST, OPEN)


def test_everything_goes_through_the_proxy_and_nothing_shows_its_password(closed: Machines) -> None:
    done = closed.apply("--phase", "host", "-e", json.dumps(PROXY))
    assert PASSWORD not in done.out + done.err
    closed.sh(HOST, "command -v tree python3")
    # So do the host's own updates.
    closed.sh(HOST, "apt-get -qq -o APT::Update::Error-Mode=any update")
    assert sorted(closed.sh(HOST, HOLDERS).splitlines()) == [
        "600 /etc/apt/apt.conf.d/95provision-proxy",
        "600 /etc/provision/proxy.env",
        "600 /var/lib/provision/host_base.json",
    ]
    # Without the variable, nothing of it is left.
    closed.apply("--phase", "host", "-e", json.dumps({**PROXY, "host_base_proxy": {}}))
    assert closed.sh(HOST, HOLDERS) == ""
