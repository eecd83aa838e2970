# SPDX-License-Identifier: Apache-2.0
"""Find the one GGUF file that an engine loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.provision.host.entry import run_module
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.models.files import Wanted
from ansible.module_utils.provision.models.path import loaded

# In check mode nothing has been downloaded yet, and only the hub knows the name.
LIKELY = "model.gguf"


def find(model: dict[str, Any], check_mode: bool) -> Path:
    """Return the file to load."""
    directory = Path(model["directory"])
    if directory.is_dir():
        return Path(loaded(Wanted.of(model), directory))
    if check_mode:
        return directory / LIKELY
    raise Fault(
        f"the model of {', '.join(model['services'])} must be loaded from {directory}, which does not exist",
        "run `provision apply` without --phase, or with --phase models, to download it",
    )


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={"model": {"type": "dict", "required": True}}, supports_check_mode=True
    )

    def work() -> dict[str, Any]:
        return {"changed": False, "file": str(find(module.params["model"], module.check_mode))}

    run_module(module, work)


if __name__ == "__main__":
    main()
