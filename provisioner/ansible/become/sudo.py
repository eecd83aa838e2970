# SPDX-License-Identifier: Apache-2.0
"""Become another user with sudo, as Ansible's plugin of this name does, where sudo is sudo-rs as well.

sudo-rs writes the text that it is given into its own prompt, so the line does not begin with it.
"""

from __future__ import annotations

from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any

from ansible.plugins import become

# Ansible loads this file under the name of its own plugin, which therefore has to get another name.
_loader = SourceFileLoader("provision_ansible_sudo", str(Path(become.__file__).with_name("sudo.py")))
_theirs: Any = module_from_spec(ModuleSpec(_loader.name, _loader))
_loader.exec_module(_theirs)

# Ansible reads the options here.
DOCUMENTATION: str = _theirs.DOCUMENTATION


class BecomeModule(_theirs.BecomeModule):  # type: ignore[misc]  # Ansible ships no types
    """Find the prompt anywhere in the output, and know what sudo-rs says about passwords."""

    fail = (
        *_theirs.BecomeModule.fail,
        "Authentication failed, try again",
        "incorrect authentication attempt",
    )
    missing = (
        *_theirs.BecomeModule.missing,
        "interactive authentication is required",
        "Authentication required but not attempted",
    )

    def check_password_prompt(self, b_output: bytes) -> bool:
        """Return whether the output asks for the password."""
        return bool(self.prompt) and self.prompt.strip().encode() in b_output
