# SPDX-License-Identifier: Apache-2.0
"""Return the `provision` key that the playbook asks for; a test double of our modules."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    """Answer with what was asked for, and with things that nobody may ever see."""
    module = AnsibleModule(
        argument_spec={
            "provision": {"type": "dict", "default": {}},
            "fail": {"type": "str"},
            "changed": {"type": "bool", "default": False},
            "diff": {"type": "dict"},
            "token": {"type": "str", "no_log": True},
            "dest": {"type": "str"},
            "mode": {"type": "str"},
            "owner": {"type": "str"},
            "group": {"type": "str"},
        },
        supports_check_mode=True,
    )
    asked = module.params
    result = {"provision": asked["provision"], "changed": asked["changed"], "extra": "canary-extra"}
    if asked["diff"]:
        result["diff"] = asked["diff"]
    if asked["fail"]:
        module.fail_json(msg=asked["fail"], **result)
    module.exit_json(msg="canary-message-of-a-success", **result)


if __name__ == "__main__":
    main()
