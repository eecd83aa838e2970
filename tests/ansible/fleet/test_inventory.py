# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret

from provisioner.errors import InventoryError, UsageError
from provisioner.fleet import inventory
from tests.listing import listing

TESTS = Path(__file__).resolve().parents[2]
GIVEN = [
    *TESTS.parent.glob("inventories/*.ini"),
    *TESTS.glob("data/inventories/*.ini"),
    *TESTS.glob("e2e/*.ini"),
]


def test_a_host_knows_its_groups_the_nearest_first(tmp_path: Path) -> None:
    path = tmp_path / "hosts.ini"
    path.write_text("[inner]\nh1\n[outer:children]\ninner\n[other]\nh2\n")
    found = inventory.load(str(path))
    assert found.groups["h1"] == ("inner", "outer", "all")
    assert found.groups["h2"] == ("other", "all")


def test_every_kind_of_inventory_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "group_vars").mkdir(parents=True)
    (folder / "hosts.yml").write_text("all:\n  hosts:\n    h1: {serve_port: 8001}\n")
    (folder / "group_vars/all.yml").write_text("serve_engine: vllm\n")
    program = tmp_path / "dynamic"
    program.write_text(
        '#!/bin/sh\necho \'{"_meta": {"hostvars": {"h2": {"a": 1}}}, "all": {"hosts": ["h2"]}}\'\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    assert inventory.load(str(folder)).hosts["h1"] == {"serve_port": 8001, "serve_engine": "vllm"}
    assert inventory.load(str(program)).hosts["h2"] == {"a": 1}
    assert list(inventory.load("h3,h4").hosts) == ["h3", "h4"]


def test_limit_and_extra_vars_reach_ansible(tmp_path: Path) -> None:
    path = tmp_path / "hosts.ini"
    path.write_text("h1\nh2\n")
    found = inventory.load(str(path), limit="h2", extra_vars=["serve_port=8009"])
    assert found.hosts == {"h2": {"serve_port": "8009"}}


def test_a_missing_file_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no inventory at"):
        inventory.load(str(tmp_path / "nowhere.ini"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"extra_vars": ["@nowhere.yml"]}, r"no regular file nowhere\.yml, to which -e refers"),
        ({"extra_vars": ["serve_port"]}, "an -e has no '=', so it sets nothing"),
        ({"extra_vars": ["{bad"]}, "cannot read the variables of -e: YAML parsing failed"),
        ({"limit": "h1:&", "extra_vars": ["a=1"]}, "cannot read --limit h1:&"),
    ],
)
def test_what_is_wrong_with_the_command_is_not_blamed_on_the_inventory(
    tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    path = tmp_path / "hosts.ini"
    path.write_text("h1\n")
    with pytest.raises(UsageError, match=said) as caught:
        inventory.load(str(path), **given)
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("limit", "part", "step"),
    [
        ("gpu1,typo", "typo", "--graph"),
        ("gpu1,gpu3", "gpu3", "did you mean gpu"),
        ("all,!gpuu2", "gpuu2", "did you mean gpu2?"),
        ("gpu*:x*", "x*", "--graph"),
        ("typo", "typo", "--graph"),
        ("servers[5]", "servers[5]", "did you mean servers?"),
    ],
)
def test_the_part_of_a_limit_that_matches_nothing_is_named(
    tmp_path: Path, limit: str, part: str, step: str
) -> None:
    path = tmp_path / "hosts.ini"
    path.write_text("gpu1\ngpu2\n[servers]\ngpu1\n")
    with pytest.raises(UsageError) as caught:
        inventory.load(str(path), limit=limit)
    assert caught.value.message == f"--limit {limit}: no host or group matches {part}"
    assert step in str(caught.value.next_step)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [([], "its variables are encrypted"), (["wrong"], "the password of the vault does not fit")],
)
def test_encrypted_variables_want_our_own_option(tmp_path: Path, arguments: list[str], says: str) -> None:
    folder = tmp_path / "folder"
    (folder / "group_vars").mkdir(parents=True)
    (folder / "hosts").write_text("h1\n")
    secret = VaultLib([("default", VaultSecret(b"right"))]).encrypt(
        "serve_engine: vllm\n", VaultSecret(b"right")
    )
    (folder / "group_vars/all.yml").write_bytes(secret)
    (tmp_path / "wrong").write_text("wrong\n")
    given = [f"--vault-password-file={tmp_path / name}" for name in arguments]
    with pytest.raises(InventoryError, match=says) as caught:
        inventory.load(str(folder), vault_arguments=given)
    assert "--vault-password-file" in str(caught.value.next_step)


def test_ansible_that_does_not_start_is_not_blamed_on_the_inventory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hosts.ini"
    path.write_text("h1\n")
    monkeypatch.setenv("ANSIBLE_FORKS", "abc")
    with pytest.raises(UsageError, match=r"^Ansible does not start: .*FORKS") as caught:
        inventory.load(str(path))
    assert "Traceback" not in caught.value.message


@pytest.mark.parametrize(
    ("variable", "value"),
    [("LC_ALL", "C"), ("LC_ALL", "xx_YY.UTF-8"), ("LC_ALL", "C.UTF-8"), ("LC_TIME", "xx_YY.UTF-8")],
)
def test_ansible_reads_an_inventory_whatever_the_locale_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    path = tmp_path / "hosts.ini"
    path.write_text("h1 note=é\n", encoding="utf-8")
    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv(variable, value)
    assert inventory.load(str(path)).hosts == {"h1": {"note": "é"}}


def test_what_ansible_is_told_of_runs_spoils_no_listing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANSIBLE_VERBOSITY", "3")
    monkeypatch.setenv("ANSIBLE_DEBUG", "1")
    monkeypatch.setenv("ANSIBLE_INVENTORY_EXPORT", "1")
    path = tmp_path / "hosts.ini"
    path.write_text("[g]\nh1\n[g:vars]\nserve_port=8009\n")
    assert inventory.load(str(path)).hosts == {"h1": {"serve_port": 8009}}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("broken.yml", "all:\n  hosts: [h1\n", r"While parsing a flow sequence .*\(.*/broken.yml:[0-9]+\)"),
        (
            "twice.yml",
            "all:\n  hosts:\n    a:\n  hosts:\n    b:\n",
            r"duplicate mapping key 'hosts'.*yml:4\)$",
        ),
        ("broken.ini", "[gpu:vras]\nserve_port=1\n", r"Section \[gpu:vras\] has unknown type: vras$"),
        ("hosts", "h1 ansible_host='\n", "No closing quotation$"),
        ("program", "#!/bin/sh\nexit 3\n", r"returned non-zero exit code 3\.$"),
        ("folder/group_vars/all", "a: \xff\n", r"\(.*/group_vars/all\)$"),
        ("folder/group_vars/all.yml", "a: {\n", r"While parsing a flow .*\(.*/group_vars/all.yml:[0-9]+\)"),
    ],
)
def test_an_unreadable_inventory_is_an_error_with_its_cause_and_not_an_empty_fleet(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("latin-1"))
    path.chmod(0o755 if name == "program" else 0o644)
    (tmp_path / "folder").mkdir(exist_ok=True)
    (tmp_path / "folder/hosts").write_text("h1\n")
    source = tmp_path / name.split("/", maxsplit=1)[0]
    with pytest.raises(InventoryError, match="cannot read the inventory") as caught:
        inventory.load(str(source))
    assert re.search(said, caught.value.message)


@pytest.mark.parametrize("path", GIVEN, ids=str)
def test_the_quick_tests_read_what_ansible_lists(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limited: dict[str, Any] = {"limit": "all[0]", "extra_vars": ["serve_port=8009 a=b"]}
    listed = inventory.load(str(path)), inventory.load(str(path), **limited)
    monkeypatch.setattr(inventory, "_list", listing)
    assert (inventory.load(str(path)), inventory.load(str(path), **limited)) == listed
    assert len(listed[1].hosts) == 1
