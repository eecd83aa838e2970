# SPDX-License-Identifier: Apache-2.0
"""What needrestart reads of ours, which is a piece of Perl: the services that it must leave alone."""

from __future__ import annotations

import re
from pathlib import Path

import jinja2

TEMPLATE = Path(__file__).resolve().parents[3] / "roles/host_base/templates/needrestart.conf.j2"
# In a pattern of Perl, @name is an array, here an empty one, and $name a variable.
RULE = re.compile(r"\$nrconf\{override_rc\}\{qr\(((?:[^@$\\]|\\.|\$(?=\)))*)\)\} = 0;")


def rules(*services: tuple[str, str]) -> list[str]:
    """Return the patterns of what the role writes for these units."""
    given = [{"unit": unit, "serve_restart_after_updates": choice} for unit, choice in services]
    environment = jinja2.Environment(trim_blocks=True, autoescape=False)  # noqa: S701 - not HTML
    text = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        ansible_facts={"provision_services": given}
    )
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found = [RULE.fullmatch(line) for line in lines]
    assert all(found), lines
    return [match.group(1) for match in found if match]


def test_services_and_jobs_are_excepted_and_nothing_else() -> None:
    found = rules(
        ("llamacpp.service", "never"), ("vllm@chat-b.service", "never"), ("ollama.service", "needrestart")
    )

    def excepted(unit: str) -> bool:
        return any(re.search(pattern, unit) for pattern in found)

    jobs = ("provision-job-driver.service", "provision-job-model-1f.service")
    assert all(map(excepted, ("llamacpp.service", "vllm@chat-b.service", *jobs)))
    others = ("ollama.service", "ssh.service", "my-llamacpp.service", "llamacppXservice", "vllm.service")
    assert not any(map(excepted, others))


def test_a_host_without_services_excepts_jobs_alone() -> None:
    assert rules() == ["^provision-job-"]
