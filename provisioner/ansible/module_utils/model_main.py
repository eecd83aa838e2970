# SPDX-License-Identifier: Apache-2.0
"""Be the store's program on a host: `model-store-<digest>.pyz fetch SPEC`, `verify SPEC` or `client`."""

from __future__ import annotations

from ansible.module_utils import model_check, model_client, model_fetch
from ansible.module_utils.job_program import Program

PROGRAM = Program("model-store", __name__, {"fetch": model_fetch.fetch, "verify": model_check.verify})
install = PROGRAM.install


def main(arguments: list[str]) -> int:
    """Run what the command line asks for."""
    if arguments[0] == "client":
        return int(model_client.main())
    return int(PROGRAM.main(arguments))
