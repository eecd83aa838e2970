# SPDX-License-Identifier: Apache-2.0
"""Let `python -m provisioner` be the `provision` command."""

from __future__ import annotations

from provisioner.cli.main import main

main()
