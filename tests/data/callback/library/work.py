# SPDX-License-Identifier: Apache-2.0
"""Work for some calls, whose number stands in a file; a test double of our modules of long work."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    """Go one step on, and answer how far the work is."""
    module = AnsibleModule(
        argument_spec={
            "calls": {"type": "path", "required": True},
            "steps": {"type": "int", "default": 3},
            "timeout": {"type": "int", "default": 60},
            "fail": {"type": "str"},
            "token": {"type": "str", "no_log": True},
        },
        supports_check_mode=True,
    )
    calls, steps = Path(module.params["calls"]), module.params["steps"]
    diff = {"before": "", "after": "the work\n"}
    if module.check_mode:
        module.exit_json(changed=True, finished=True, diff=diff)
    done = len(calls.read_text()) + 1 if calls.exists() else 1
    calls.write_text("." * done)
    if done < steps:
        progress = {
            "label": "work",
            "done_bytes": done * 1e9,
            "total_bytes": steps * 1e9,
            "secret": "canary-work",
        }
        module.warn(f"warned in call {done}")
        module.exit_json(changed=done == 1, finished=False, diff=diff, provision={"progress": progress})
    if module.params["fail"]:
        module.fail_json(msg=module.params["fail"], finished=True, provision={"next": "mend it"})
    module.exit_json(changed=False, finished=True)


if __name__ == "__main__":
    main()
