# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import ssl
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import pytest
from ansible.module_utils.engine_ollama import job, pull
from ansible.module_utils.engine_ollama.names import Name
from ansible.module_utils.engine_ollama.store import Store
from ansible.module_utils.engine_ollama.wanted import (
    doubt,
    main_name,
    names,
    preloaded,
    refuse_contradictions,
    wanted,
)
from ansible.module_utils.provision.host.fault import Fault

from tests.unit.ollama.conftest import FakeOllama, sha256
from tests.unit.ollama.registry import Registry

WEIGHTS = b"weights" * 1000


class Site:
    """Pull and create one service's models, again and again, as the module would."""

    def __init__(self, registry: Registry, ollama: FakeOllama, folder: Path) -> None:
        self.registry = registry
        self.ollama = ollama
        self.folder = folder
        self.record: dict[str, Any] = {"models": {}, "stamps": {}}
        self.store = Store(ollama.root)

    def ensure(self, given: dict[str, Any], **changes: Any) -> dict[str, Any]:
        models = wanted(given, changes.pop("gguf", ""), changes.pop("modelfiles", {}))
        spec = {
            "title": "test",
            "root": str(self.ollama.root),
            "binary": "/nowhere/ollama",
            "registry": self.registry.url,
            "models": [asdict(model) for model in models],
            "entries": {
                model.name: self.record["models"].get(model.name, {"made": True, "pending": True})
                for model in models
            },
            "stamps": self.record["stamps"],
            "staged": {},
            "environment": {},
            "attempts": 3,
            "stall_seconds": 30,
            "reserve_bytes": 0,
            "result": str(self.folder / "result.json"),
            **changes,
        }
        self.ollama.calls.clear()
        # As it goes to the host and comes back.
        job.JOBS["ensure"](json.loads(json.dumps(spec)))
        outcome: dict[str, Any] = json.loads((self.folder / "result.json").read_text())
        self.record["models"].update(outcome["models"])
        self.record["stamps"] = outcome["stamps"]
        for model in models:
            entry = self.record["models"][model.name]
            assert not doubt(self.store, model, entry, self.record["stamps"])
        return outcome


@pytest.fixture
def site(registry: Registry, ollama: FakeOllama, tmp_path: Path) -> Site:
    registry.add("library/small:1", WEIGHTS, template=b"{{ .Prompt }}")
    return Site(registry, ollama, tmp_path)


def service(**words: Any) -> dict[str, Any]:
    return {
        "unit": "ollama.service",
        "serve_model": "small:1",
        "serve_model_source": "ollama",
        "served_name": "small:1",
        "engine_ollama_models_dir": "/models",
        **words,
    }


def test_pulls_from_a_mirror_under_the_plain_name_and_keeps_its_blobs_once(site: Site) -> None:
    outcome = site.ensure(service())
    assert list(outcome["models"]) == ["small:1"]
    listed = [path for path in (site.ollama.root / "manifests").glob("*/*/*/*") if path.is_file()]
    assert [str(path.relative_to(site.ollama.root / "manifests")) for path in listed] == [
        "registry.ollama.ai/library/small/1"
    ]
    assert len(list((site.ollama.root / "blobs").iterdir())) == 3


def test_does_nothing_twice(site: Site) -> None:
    site.ensure(service())
    site.registry.asked.clear()
    assert site.ensure(service())["models"] == {}
    assert (site.ollama.paths(), site.registry.asked) == ([], [])


def test_takes_the_model_that_is_pinned_and_no_other(site: Site) -> None:
    (content,) = site.registry.manifests.values()
    site.ensure(service(serve_model_revision=sha256(content)))
    with pytest.raises(Fault, match="serve_model_revision is ffff"):
        site.ensure(service(serve_model="small:1", serve_model_revision="f" * 64))
    assert not [path for path in site.ollama.paths() if path == "/api/pull"]


def test_a_changed_model_is_made_beside_its_base_which_is_not_fetched_again(site: Site) -> None:
    site.ensure(service(engine_ollama_system="one"))
    assert site.ollama.paths() == ["/api/pull", "/api/copy", "/api/create"]
    outcome = site.ensure(service(engine_ollama_system='two "quoted"\n"""'))
    (call,) = site.ollama.calls
    assert call == ("/api/create", {"model": "small:1", "system": 'two "quoted"\n"""', "from": str(BASE)})
    assert outcome["models"]["small:1"]["base"] == str(BASE)
    # The system prompt that went is gone from the disk too.
    assert outcome["removed"]


BASE = Name.parse("small:1").base


def test_only_the_changed_one_of_several_is_made_again(site: Site) -> None:
    def asked(text: str) -> dict[str, Any]:
        return service(
            engine_ollama_models=[
                {"name": "one", "from": "small:1", "system": text},
                {"name": "two", "from": "small:1", "system": "stays"},
                {"name": "three", "from": "one", "parameters": {"num_ctx": 10}},
            ]
        )

    site.ensure(asked("before"))
    outcome = site.ensure(asked("after"))
    assert list(outcome["models"]) == ["one:latest", "three:latest"]
    assert [body["model"] for _, body in site.ollama.calls] == ["one:latest", "three:latest"]


def test_makes_a_model_from_a_file_and_drops_the_copy_that_it_was_made_from(
    site: Site, tmp_path: Path
) -> None:
    file = tmp_path / "own.gguf"
    file.write_bytes(WEIGHTS)
    given = service(serve_model_source="huggingface", served_name="owner/own-GGUF")
    site.ensure(given, gguf=str(file))
    assert main_name(given) == "owner/own-GGUF:latest"
    assert not site.store.blob(f"sha256:{sha256(WEIGHTS)}").exists()
    assert not list((site.ollama.root / "blobs").glob("provision-*"))
    assert file.read_bytes() == WEIGHTS


def test_a_blob_that_went_and_came_again_counts_as_there(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "own.gguf"
    file.write_bytes(WEIGHTS)
    given = service(
        serve_model_source="huggingface", served_name="owner/own", engine_ollama_models=[{"name": "small:1"}]
    )
    outcome = site.ensure(given, gguf=str(file))
    assert site.store.blob(f"sha256:{sha256(WEIGHTS)}").exists()
    assert not outcome["removed"]


@pytest.mark.parametrize("damage", ["change", "remove", "shorten"])
def test_a_wrong_blob_comes_again_and_no_other(site: Site, damage: str) -> None:
    site.ensure(service())
    blob = site.store.blob(f"sha256:{sha256(WEIGHTS)}")
    if damage == "remove":
        blob.unlink()
    else:
        blob.write_bytes(b"X" + WEIGHTS[1:] if damage == "change" else WEIGHTS[:100])
    site.registry.asked.clear()
    outcome = site.ensure(service())
    assert blob.read_bytes() == WEIGHTS
    assert len(outcome["repaired"]) == 1
    assert str(blob) in outcome["repaired"][0]
    fetched = [line for line in site.registry.asked if "/blobs/" in line]
    assert fetched == [f"GET /v2/library/small/blobs/sha256:{sha256(WEIGHTS)}"]


def test_a_damaged_created_model_is_made_again_and_the_others_stay(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "own.gguf"
    file.write_bytes(WEIGHTS)
    given = service(engine_ollama_models=[{"name": "made", "from": str(file)}])
    site.ensure(given)
    blob = site.store.blob(f"sha256:{sha256(b'rewritten ' + WEIGHTS)}")
    blob.write_bytes(b"Y" + blob.read_bytes()[1:])
    outcome = site.ensure(given)
    assert list(outcome["models"]) == ["made:latest"]
    assert site.ollama.paths() == ["/api/create"]
    assert site.store.blob(f"sha256:{sha256(WEIGHTS)}").exists()


def test_a_passing_fault_costs_an_attempt_and_a_lasting_one_ends_the_pull(site: Site) -> None:
    site.ollama.failures = ["digest mismatch, file must be downloaded again", "max retries exceeded: EOF"]
    site.ensure(service())
    assert site.ollama.paths().count("/api/pull") == 3
    site.registry.add("library/other:1", b"else")
    site.ollama.failures = ["max retries exceeded: EOF"] * 9
    with pytest.raises(
        Fault, match=r"pulling other:1 from .* failed 3 times in a row, the last time with: max"
    ) as caught:
        site.ensure(service(serve_model="other:1"))
    assert "apply again" in caught.value.next_step


@pytest.mark.parametrize("said", sorted(pull.HOPELESS))
def test_what_no_repetition_mends_is_not_repeated(site: Site, said: str) -> None:
    site.ollama.failures = [f"write: {said}"] * 2
    with pytest.raises(Fault, match="pulling small:1 failed"):
        site.ensure(service())
    assert site.ollama.paths() == ["/api/pull"]


@pytest.mark.parametrize(("status", "reason"), [(404, "has no model small:1"), (403, "refuses small:1")])
def test_says_why_the_registry_does_not_have_it(site: Site, status: int, reason: str) -> None:
    site.registry.faults["/manifests/1"] = [status] * 9
    with pytest.raises(Fault, match=reason):
        site.ensure(service())


def test_a_registry_out_of_order_is_asked_again(site: Site) -> None:
    site.registry.faults["/manifests/1"] = [500, 503]
    assert site.ensure(service())["models"]


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (
            URLError(OSError(113, "No route to host")),
            r"small:1 failed 3 times in a row, .*: No route to host$",
        ),
        (
            ConnectionResetError(104, "Connection reset by peer"),
            r"in a row, the last time with: Connection reset by peer$",
        ),
        (URLError(ssl.SSLCertVerificationError(1, "x")), r"^the certificate of http://\S+ is not trusted"),
    ],
)
def test_a_registry_out_of_reach_is_told_without_python_around_it(
    site: Site, monkeypatch: pytest.MonkeyPatch, fault: OSError, says: str
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(pull.urllib.request, "urlopen", unreachable)
    with pytest.raises(Fault, match=says):
        site.ensure(service())


def test_a_full_disk_is_refused_before_the_first_byte(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=5000))
    with pytest.raises(Fault, match=r"not enough disk for small:1: .* GB are needed there"):
        site.ensure(service())
    assert site.ollama.paths() == []


def test_a_failed_creation_names_the_words_that_made_it(site: Site) -> None:
    with pytest.raises(Fault, match="creating small:1 failed: bad template") as caught:
        site.ensure(service(engine_ollama_system="refuse this"))
    assert "engine_ollama_" in caught.value.next_step


def test_hashes_name_the_file_and_both_sums(site: Site, tmp_path: Path) -> None:
    site.ensure(service())
    blob = site.store.blob(f"sha256:{sha256(WEIGHTS)}")
    blob.write_bytes(b"X" + WEIGHTS[1:])
    spec = {"title": "t", "root": str(site.ollama.root), "names": ["small:1", "gone:1"], "run": "7"}
    job.JOBS["verify"]({**spec, "result": str(tmp_path / "verify.json")})
    given = json.loads((tmp_path / "verify.json").read_text())
    (wrong,) = given["results"]["small:1"]
    assert wrong == f"{blob} has sha256 {sha256(b'X' + WEIGHTS[1:])}, expected {sha256(WEIGHTS)}"
    assert given["results"]["gone:1"] is None


def test_removes_what_nothing_else_needs(site: Site, tmp_path: Path) -> None:
    site.ensure(service(engine_ollama_models=[{"name": "one", "from": "small:1", "system": "x"}]))
    result = str(tmp_path / "prune.json")
    spec = {"title": "t", "root": str(site.ollama.root), "names": ["one:latest"], "run": "7"}
    job.JOBS["prune"]({**spec, "result": result})
    assert site.store.manifest(Name.parse("one")) is None
    left = site.store.manifest(Name.parse("small:1"))
    assert left is not None
    assert not site.store.missing(left)
    assert not (site.ollama.root / "manifests/registry.ollama.ai/library/one").exists()


@pytest.mark.parametrize(
    ("words", "reason", "hint"),
    [
        ({"engine_ollama_models": [{"name": "a", "form": "b"}]}, "form is not a key", "did you mean from?"),
        ({"engine_ollama_models": [{"from": "b"}]}, "has no name", "add one"),
        ({"engine_ollama_models": [{"name": "small:1"}]}, "lists the model small:1 twice", "another name"),
        (
            {"engine_ollama_models": [{"name": "Small:1"}]},
            "lists the model small:1 and Small:1 twice",
            "to Ollama, names have no case",
        ),
        ({"engine_ollama_parameters": {"num_cxt": 1}}, "num_cxt is not a parameter", "did you mean num_ctx?"),
        ({"engine_ollama_adapter": "x.gguf"}, "is not an absolute path", "on the host"),
        ({"serve_model_revision": "135m"}, "is not the digest", "the tag into serve_model"),
    ],
)
def test_says_what_is_wrong_with_the_words(words: dict[str, Any], reason: str, hint: str) -> None:
    with pytest.raises(Fault) as caught:
        wanted(service(**words), "", {})
    assert reason in str(caught.value)
    assert hint in caught.value.next_step


def test_typed_words_overrule_the_modelfile() -> None:
    words = {
        "engine_ollama_modelfile": "m",
        "engine_ollama_parameters": {"seed": 1},
        "engine_ollama_system": "mine",
    }
    (model,) = wanted(
        service(**words), "", {"m": "FROM x\nSYSTEM theirs\nPARAMETER seed 2\nPARAMETER top_k 3\n"}
    )
    assert model.changes == {"system": "mine", "parameters": {"seed": 1, "top_k": 3}}


def test_knows_names_and_what_to_preload() -> None:
    given = service(engine_ollama_models=[{"name": "a", "preload": True}, {"name": "b:2", "preload": "no"}])
    assert names(given) == ["small:1", "a:latest", "b:2"]
    assert preloaded(given) == ["a:latest"]


def test_services_that_would_undo_each_other_are_refused() -> None:
    one, two = service(unit="a.service"), service(unit="b.service", engine_ollama_system="else")
    with pytest.raises(Fault, match=r"a\.service and b\.service create different models of the name small:1"):
        refuse_contradictions(one, [one, two])
    refuse_contradictions(one, [one, {**two, "engine_ollama_models_dir": "/other"}])
    refuse_contradictions(one, [service(unit="c.service", engine_ollama_models=[{"name": "x"}])])
