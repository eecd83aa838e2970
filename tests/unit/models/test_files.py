# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.host.files import read_json, write_json
from ansible.module_utils.provision.models.check import check
from ansible.module_utils.provision.models.files import (
    MANIFEST,
    STAMPS,
    Hashes,
    KnownFile,
    Manifest,
    RemoteFile,
    Wanted,
    doubt,
    hash_file,
    mismatch,
    read_manifest,
    write_stamps,
)

WANTED = Wanted("huggingface", "org/name", "main", include=("*.gguf",), format="gguf")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Make a directory as the store publishes it."""
    contents = {"a.gguf": b"weights", "sub/config.json": b"{}"}
    for name, content in contents.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    files = {n: KnownFile(len(c), hashlib.sha256(c).hexdigest(), "hub") for n, c in contents.items()}
    Manifest(WANTED, "c0ffee", files).write(tmp_path)
    write_stamps(tmp_path, files)
    return tmp_path


def held(model: Path) -> Manifest:
    manifest = read_manifest(model)
    assert manifest is not None
    return manifest


def test_a_manifest_reads_as_it_was_written(model: Path) -> None:
    manifest = held(model)
    assert manifest.wanted == WANTED
    assert manifest.commit == "c0ffee"
    assert manifest.files["a.gguf"] == KnownFile(7, hashlib.sha256(b"weights").hexdigest(), "hub")
    assert [path.name for path in model.glob(".*.new")] == []


def test_a_manifest_from_before_there_was_a_choice_of_formats_stays_valid(model: Path) -> None:
    path = model / MANIFEST
    body = json.loads(path.read_text())
    del body["weights"]
    path.write_text(json.dumps(body))
    assert doubt(model, dataclasses.replace(WANTED, format="safetensors")) == ""
    assert "another choice of files" in doubt(model, WANTED)


def test_a_note_is_replaced_whole_and_never_wider_than_asked(tmp_path: Path) -> None:
    path = tmp_path / "new" / "note.json"
    write_json(path, {"a": 1}, 0o600)
    path.with_name(".note.json.new").write_text("what a broken-off run left")
    write_json(path, {"a": 2}, 0o600)
    assert read_json(path, None) == {"a": 2}
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]
    assert read_json(tmp_path / "none", []) == []


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"files": 1}', '{"files": {"a": {"size": 1}}}'])
def test_a_damaged_manifest_counts_as_none(model: Path, damage: str) -> None:
    (model / ".provision-manifest.json").write_text(damage)
    assert read_manifest(model) is None
    assert doubt(model, WANTED) == "it has no manifest"


def test_an_untouched_directory_raises_no_doubt(model: Path) -> None:
    assert doubt(model, WANTED) == ""


def test_doubts_what_is_not_there(model: Path) -> None:
    assert doubt(model / "other", WANTED) == "it does not exist"


def test_doubts_another_wish(model: Path) -> None:
    assert "another choice of files" in doubt(model, Wanted("huggingface", "org/name", "main"))


def _same_size_and_time(path: Path) -> None:
    before = path.stat()
    path.write_bytes(b"Weights")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _another_file(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"weights")
    other.rename(path)


@pytest.mark.parametrize("change", [Path.unlink, Path.touch, _same_size_and_time, _another_file])
def test_doubts_a_file_that_changed_in_any_way(model: Path, change: Any) -> None:
    change(model / "a.gguf")
    assert doubt(model, WANTED) == "a.gguf changed since the hashes were checked"


def test_doubts_a_file_without_a_stamp(model: Path) -> None:
    write_stamps(model, ["a.gguf"])
    assert doubt(model, WANTED).startswith("sub/config.json")


def test_hashes_as_git_does(tmp_path: Path) -> None:
    path = tmp_path / "hello"
    path.write_bytes(b"hello\n")
    found = hash_file(path)
    assert found.git_sha1 == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert found.sha256 == hashlib.sha256(b"hello\n").hexdigest()


@pytest.mark.parametrize(
    ("remote", "reason"),
    [
        (RemoteFile("f", 4, "good", "git"), ""),
        (RemoteFile("f", 4, "", "git"), ""),
        (RemoteFile("f", 4, "", ""), ""),
        (RemoteFile("f", 5, "good", "git"), "has 4 bytes, expected 5"),
        (RemoteFile("f", 4, "other", "git"), "has sha256 good, expected other"),
        (RemoteFile("f", 4, "", "other"), "has git hash git, expected other"),
    ],
)
def test_compares_with_the_strongest_hash_that_the_hub_gives(remote: RemoteFile, reason: str) -> None:
    assert mismatch(remote, Hashes(4, "good", "git")) == reason


def test_an_unreadable_file_is_no_match() -> None:
    assert mismatch(RemoteFile("f", 4), None) == "cannot be read"


def test_verification_passes_a_whole_model(model: Path) -> None:
    told: list[int] = []
    result = check(model, held(model), told.append)
    assert result["status"] == "passed"
    assert "2 files" in result["evidence"]
    assert sorted(told) == [2, 7]


def test_verification_names_the_file_and_both_hashes_and_lets_apply_mend_it(model: Path) -> None:
    stamps = read_json(model / STAMPS, {})
    (model / "a.gguf").write_bytes(b"Weights")
    result = check(model, held(model))
    good, bad = (hashlib.sha256(content).hexdigest() for content in (b"weights", b"Weights"))
    assert result["status"] == "failed"
    assert result["evidence"] == f"{model / 'a.gguf'} has sha256 {bad}, expected {good}"
    assert "provision apply" in result["next"]
    assert read_json(model / STAMPS, {}) == {"sub/config.json": stamps["sub/config.json"]}
    assert doubt(model, WANTED).startswith("a.gguf")


def test_verification_notices_a_file_that_nobody_fetched(model: Path) -> None:
    (model / "sub" / "extra.safetensors").write_bytes(b"")
    result = check(model, held(model))
    assert result["status"] == "failed"
    assert str(model / "sub" / "extra.safetensors") in result["evidence"]
