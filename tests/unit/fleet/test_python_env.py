# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from typing import Any

import pytest

from provisioner.fleet import python_env

TERMS = "may be used only under Anaconda's terms"


def found(provider: str = "miniforge", **given: Any) -> list[tuple[str, str]]:
    words = {"python_env_provider": provider}
    words |= {
        name if name.startswith("python_") else f"python_env_conda_{name}": v for name, v in given.items()
    }
    return [(finding.variable, f"{finding.reason}; {finding.hint}") for finding in python_env.check(words)]


def test_every_pin_is_whole() -> None:
    for installer in python_env.installers().values():
        assert installer["version"] in installer["sha256"]
        for hashes in installer["sha256"].values():
            assert set(hashes) == {"x86_64", "aarch64"}
            assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in hashes.values())
        assert {"{version}", "{arch}"} <= set(re.findall(r"\{\w+\}", installer["url"]))


@pytest.mark.parametrize(
    ("provider", "words"),
    [
        ("system", {"channels": ["defaults"], "python_env_python": "3.12"}),
        ("miniforge", {}),
        ("miniforge", {"version": "25.3.1-0", "python": "3.13.5", "packages": ["openssl=3.5.1"]}),
        ("miniforge", {"version": "99.1.0-0", "sha256": "AB" * 32}),
        ("miniforge", {"version": "{{ version }}", "sha256": "{{ digest }}", "python": "{{ python }}"}),
        (
            "miniforge",
            {"channels": ["conda-forge", "r-forge"], "channel_alias": "https://mirror.example/conda"},
        ),
        ("miniconda", {"accept_terms": True}),
        ("miniconda", {"accept_terms": "{{ terms }}"}),
    ],
)
def test_what_is_pinned_and_agreed_is_right(provider: str, words: dict[str, Any]) -> None:
    assert found(provider, **words) == []


@pytest.mark.parametrize("terms", [{}, {"accept_terms": False}, {"accept_terms": "no"}])
def test_terms_have_to_be_accepted(terms: dict[str, Any]) -> None:
    ((name, text),) = found("miniconda", **terms)
    assert name == ("python_env_conda_accept_terms" if terms else "python_env_provider")
    assert f"Miniconda {TERMS}" in text
    assert "python_env_conda_accept_terms: true" in text


@pytest.mark.parametrize("channel", ["defaults", "main", "https://repo.anaconda.com/pkgs/main"])
def test_channels_of_anaconda_have_terms_as_well(channel: str) -> None:
    ((_, text),) = found(channels=["conda-forge", channel])
    assert f"the channel {channel} {TERMS}" in text


@pytest.mark.parametrize(
    ("words", "name", "text"),
    [
        ({"version": "99.1.0-0"}, "version", "an unknown sha256; look it up at https://github.com/"),
        ({"sha256": "latest"}, "sha256", "64 hexadecimal digits"),
        ({"python": "3.12"}, "python", "must be an exact version; such as 3.12.11"),
        ({"packages": ["pip", "a=1"]}, "packages", "does not pin the version of pip"),
    ],
)
def test_what_pins_nothing_is_refused(words: dict[str, Any], name: str, text: str) -> None:
    ((variable, reason),) = found(**words)
    assert variable == f"python_env_conda_{name}"
    assert text in reason


def test_the_systems_python_is_another_word() -> None:
    assert [name for name, _ in found(python_env_python="3.12")] == ["python_env_python"]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("url", "https://ops:hunter2@mirror.example/x.sh"),
        ("channel_alias", "https://mirror.example/t/hunter2/conda"),
        ("channels", ["https://ops:hunter2@mirror.example/own"]),
        ("custom_channels", {"own": "https://hunter2@mirror.example"}),
        ("default_channels", ["https://ops:hunter2@mirror.example/main"]),
    ],
)
def test_no_address_holds_a_secret(word: str, value: object) -> None:
    words = {"python_env_provider": "miniforge", f"python_env_conda_{word}": value}
    (finding,) = python_env.check(words)
    assert (finding.variable, finding.has_value) == (f"python_env_conda_{word}", False)
    assert "python_env_conda_netrc_file" in finding.hint
    assert "hunter2" not in str(finding)
