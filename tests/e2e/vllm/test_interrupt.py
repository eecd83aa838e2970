# SPDX-License-Identifier: Apache-2.0
"""What happens to an engine that starts when `provision` is stopped, and what the next run makes of it."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.e2e.machines import Machines, interrupt, inventory_with, phases

# Its process is there, and does not answer yet.
STARTING = (
    'test "$(systemctl is-active vllm.service)" = activating'
    ' && test "$(systemctl show -P MainPID vllm.service)" != 0'
)
# The journal's name for the message that systemd is starting a unit.
STARTS = "journalctl -q --output=cat UNIT=vllm.service MESSAGE_ID=7d4958e842da4a758f6c1cdc7b36dcc5 | wc -l"


def test_a_start_goes_on_the_next_run_takes_it_over_and_no_other_service_restarts(
    serving: Machines, tmp_path: Path
) -> None:
    """Change the environment, so that the service has to restart."""
    other = serving.pid("ms")
    env = 'hf ansible_port=2241 serve_env=\'{"VLLM_LOG_STATS_INTERVAL": "2"}\''
    changed = inventory_with(tmp_path, serving.inventory, [("hf ansible_port=2241", env)])
    command = ("apply", str(changed), "--limit", "serving", "--yes", *phases("serve"))
    starts = int(serving.sh("hf", STARTS))
    running = serving.start(*command)
    try:
        serving.wait("hf", STARTING, "the engine starts", 180)
        starting = serving.pid("hf")
        ended, said = interrupt(running, signal.SIGINT)
    finally:
        running.kill()
    assert ended == 130, said
    assert "Traceback" not in said
    assert serving.pid("hf") == starting
    serving.provision(*command)
    assert serving.sh("hf", "systemctl is-active vllm.service") == "active"
    # Started once, by the first run: the second waited for that very process.
    assert serving.pid("hf") == starting
    assert int(serving.sh("hf", STARTS)) == starts + 1
    assert serving.sh("hf", "systemctl show -P NRestarts vllm.service") == "0"
    environment = serving.sh("hf", f"tr '\\0' '\\n' < /proc/{starting}/environ")
    assert "VLLM_LOG_STATS_INTERVAL=2" in environment.splitlines()
    assert serving.pid("ms") == other
