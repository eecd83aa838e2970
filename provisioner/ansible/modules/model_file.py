# SPDX-License-Identifier: Apache-2.0
"""Find the one GGUF file that an engine loads, and what its model was made for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.provision.host.entry import run
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.models.files import Wanted
from ansible.module_utils.provision.models.path import loaded
from ansible.module_utils.provision.models.task import of_gguf

# In check mode nothing has been downloaded yet, and only the hub knows the name.
LIKELY = "model.gguf"


def find(module: AnsibleModule) -> dict[str, Any]:
    """Return the file to load, and its task."""
    model = module.params["model"]
    directory = Path(model["directory"])
    if directory.is_dir():
        file = loaded(Wanted.of(model), directory)
    elif module.check_mode:
        file = directory / LIKELY
    else:
        who = f"the model of {', '.join(model['services'])}"
        raise Fault(
            f"{who} must be loaded from {directory}, which does not exist",
            "run `provision apply` without --phase, or with --phase models, to download it",
        )
    return {"changed": False, "file": str(file), "task": of_gguf(file)}


def main() -> None:
    """Run as an Ansible module."""
    run(find, {"model": {"type": "dict", "required": True}})


if __name__ == "__main__":
    main()
