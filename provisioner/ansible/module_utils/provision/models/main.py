# SPDX-License-Identifier: Apache-2.0
"""The store's program on a host: `model-store-<digest>.pyz fetch SPEC`, `verify SPEC` or `client`."""

from __future__ import annotations

from ..jobs.program import Program
from . import check, client, fetch

PROGRAM = Program("model-store", __name__, {"fetch": fetch.fetch, "verify": check.verify})
install = PROGRAM.install


def main(arguments: list[str]) -> int:
    """Run what the command line requests."""
    if arguments[0] == "client":
        return client.main()
    return PROGRAM.main(arguments)
