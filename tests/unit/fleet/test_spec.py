# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest

from provisioner.errors import InventoryError
from provisioner.fleet import engines, inventory, services, spec

CASES = Path(__file__).resolve().parents[2] / "data/inventories"

HOST = "h1 serve_engine=vllm serve_model=a/b"


def fleet_of(path: Path, text: str) -> spec.Fleet:
    path.write_text(text)
    return spec.load(inventory.load(str(path)))


def problems_of(path: Path, text: str) -> list[str]:
    with pytest.raises(InventoryError) as caught:
        fleet_of(path, text)
    return [f"{problem.variable}: {problem.reason}; {problem.hint}" for problem in caught.value.problems]


def test_every_planted_mistake_is_reported_at_once_with_its_place() -> None:
    with pytest.raises(InventoryError) as caught:
        spec.load(inventory.load(str(CASES / "mistakes.ini")))
    found = []
    for problem in caught.value.problems:
        place = problem.origin.split("/")[-1]
        parts = (",".join(problem.hosts), place, problem.variable, problem.reason, problem.hint)
        found.append(" | ".join(filter(None, parts)))
    text = (CASES / "mistakes.expected").read_text()
    expected = text.replace("{engines}", ", ".join(sorted(engines.load()))).splitlines()
    assert sorted(found) == sorted(expected)


def test_mistakes_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = "[g]\nh1 serve_engine=vllm serve_model=a/b\n[g:vars]\n" + "\n" * 7
    wrong = ["container_runtime_engine=dokcer", "serve_prot=1", "nvidia_driver_source=nvidai"]
    said = problems_of(tmp_path / "hosts.ini", text + "\n".join(wrong))
    assert [one.partition(":")[0] for one in said] == [line.partition("=")[0] for line in wrong]


@pytest.mark.parametrize(
    "line",
    [
        "ansible_passwrod=hunter2",
        "serve_api_kye=hunter2",
        "serve_api_key_file=hunter2",
        "model_store_huggingface_tokne=hunter2",
        "model_store_huggingface_token_file=hunter2",
        "python_env_index_url=['https://me:hunter2@mirror.example/simple']",
        "engine_llamacpp_url=ftp://me:hunter2@mirror.example/x",
        "serve_env=hunter2",
        "serve_services=['hunter2']",
    ],
)
def test_a_mistake_with_a_secret_does_not_show_it(tmp_path: Path, line: str) -> None:
    path = tmp_path / "hosts.ini"
    path.write_text(f"[g]\nh1 serve_engine=llamacpp serve_model=a/b-GGUF\n[g:vars]\n{line}\n")
    with pytest.raises(InventoryError) as caught:
        spec.load(inventory.load(str(path)))
    assert "hunter2" not in repr(caught.value.problems)


def test_the_path_to_a_secret_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "hosts.ini"
    path.write_text(f"{HOST} serve_api_key_file=/nowhere/vllm.key\n")
    with pytest.raises(InventoryError) as caught:
        spec.load(inventory.load(str(path)))
    assert [problem.value for problem in caught.value.problems] == ["/nowhere/vllm.key"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("serve_port=inf", "serve_port: must be a whole number"),
        ("ansible_port=\N{SUPERSCRIPT TWO}", "ansible_port: must be a port"),
        ("serve_api_key_file=~nobody-of-this-name/x", "serve_api_key_file: cannot be searched for"),
        (f"serve_api_key_file=/{'x' * 300}", "serve_api_key_file: cannot be searched for"),
        (
            "model_store_modelscope_token_file=~nobody-of-this-name/x",
            "model_store_modelscope_token_file: cannot",
        ),
    ],
)
def test_no_value_is_too_odd_for_a_message(tmp_path: Path, words: str, says: str) -> None:
    (said,) = problems_of(tmp_path / "hosts.ini", f"{HOST} {words}\n")
    assert said.startswith(says)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"two words\n", "contains a space"),
        (b"two\nlines\n", "contains a space, a line break"),
        (b"with-return\r\nmore", "contains a space, a line break"),
        ("schlüssel".encode(), "contains a space, a line break or a non-ASCII character"),
    ],
)
def test_a_file_that_has_no_key_is_refused_and_not_shown(tmp_path: Path, content: bytes, says: str) -> None:
    key = tmp_path / "vllm.key"
    key.write_bytes(content)
    (said,) = problems_of(tmp_path / "hosts.ini", f"{HOST} serve_api_key_file={key}\n")
    assert said.startswith(f"serve_api_key_file: {says}")
    assert not content.strip() or content.decode() not in said


@pytest.mark.parametrize("content", ["sk-1\n", "$ANSIBLE_VAULT;1.1;AES256\n3061\n"])
def test_a_key_may_be_encrypted(tmp_path: Path, content: str) -> None:
    key = tmp_path / "vllm.key"
    key.write_text(content)
    assert fleet_of(tmp_path / "hosts.ini", f"{HOST} serve_api_key_file={key}\n").hosts[0].services


@pytest.mark.parametrize("words", ["engine_ollama_https_proxy={}", 'serve_env=\'{{"HTTPS_PROXY": "{}"}}\''])
def test_a_proxy_of_ollama_has_no_password_which_its_log_would_show(tmp_path: Path, words: str) -> None:
    ollama = "h1 serve_engine=ollama serve_model_source=ollama serve_model=qwen3:8b"
    given = words.format("http://me:canary@proxy.example:3128")
    (said,) = problems_of(tmp_path / "hosts.ini", f"{ollama} {given}\n")
    assert "without user and password, which Ollama writes into its log" in said
    assert "canary" not in said
    allowed = words.format("http://proxy.example:3128")
    assert fleet_of(tmp_path / "hosts.ini", f"{ollama} {allowed}\n").hosts[0].services


def test_a_key_is_checked_as_its_engine_reads_it(tmp_path: Path) -> None:
    key = tmp_path / "engine.key"
    key.write_text("sk-1,sk-2\n")
    llamacpp = "h1 serve_engine=llamacpp serve_model=a/b-GGUF"
    (said,) = problems_of(tmp_path / "hosts.ini", f"{llamacpp} serve_api_key_file={key}\n")
    assert said.startswith(
        "serve_api_key_file: contains ',', at which llama.cpp divides it into several keys"
    )
    assert "sk-" not in said
    assert fleet_of(tmp_path / "hosts.ini", f"{HOST} serve_api_key_file={key}\n").hosts[0].services


@pytest.mark.parametrize("name", ["all", "0-3", "gpu0", "-1", "1.0", "", "x y", "0000:1b"])
def test_a_gpu_is_named_as_the_driver_does(tmp_path: Path, name: str) -> None:
    (said,) = problems_of(tmp_path / "hosts.ini", f"[g]\n{HOST}\n[g:vars]\nserve_gpus=[{name!r}]\n")
    assert said.startswith(f"serve_gpus: contains {name or 'an empty item'}, which is not a GPU")


@pytest.mark.parametrize(
    "name",
    [
        "0",
        "GPU-0c1f",
        "GPU-00000000-0000-0000-0000-000000000000",
        "MIG-12",
        "MIG-GPU-0c1f/7/0",
        "1b:00",
        "0000:1B:00.0",
    ],
)
def test_every_name_of_a_gpu_is_let_through(tmp_path: Path, name: str) -> None:
    fleet = fleet_of(tmp_path / "hosts.ini", f"[g]\n{HOST}\n[g:vars]\nserve_gpus=[{name!r}]\n")
    assert fleet.hosts[0].services[0].gpus == (name,)


def test_a_service_on_the_processor_has_no_gpus(tmp_path: Path) -> None:
    (said,) = problems_of(
        tmp_path / "hosts.ini", f"[g]\n{HOST}\n[g:vars]\nengine_vllm_device=cpu\nserve_gpus=[0]\n"
    )
    assert "engine_vllm_device = cpu keeps the service off the GPUs; remove one of the two" in said


def test_a_mistake_of_an_item_is_placed_at_the_item(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text(
        "g:\n  hosts:\n    h1:\n      serve_services:\n        - {serve_port: 80}\n"
        "  vars:\n    serve_engine: vllm\n    serve_model: a/b\n    serve_port: 8000\n"
    )
    with pytest.raises(InventoryError) as caught:
        spec.load(inventory.load(str(path)))
    assert [problem.origin for problem in caught.value.problems] == [f"{path}:4 (host h1)"]


def test_a_service_takes_its_words_from_its_host_and_the_defaults_from_its_engine(tmp_path: Path) -> None:
    fleet = fleet_of(
        tmp_path / "one.ini", "gpu1 serve_engine=vllm serve_model=owner/model engine_vllm_dtype=float32\n"
    )
    (service,) = fleet.hosts[0].services
    assert (service.unit, service.port, service.url) == ("vllm.service", 8000, "http://127.0.0.1:8000")
    assert service.model.directory == "/var/lib/provision/models/huggingface/owner--model/main"
    assert service.settings["engine_vllm_dtype"] == "float32"
    assert service.settings["engine_vllm_trust_remote_code"] is False


def test_an_item_of_the_list_wins_over_its_host(tmp_path: Path) -> None:
    text = """\
all:
  hosts:
    gpu1:
      serve_engine: vllm
      serve_model: owner/shared
      engine_vllm_dtype: float32
      serve_services:
        - {serve_name: one}
        - {serve_name: two, serve_port: 8001, serve_model: owner/other, engine_vllm_dtype: auto}
"""
    one, two = fleet_of(tmp_path / "list.yml", text).hosts[0].services
    assert (one.unit, one.model.name, one.settings["engine_vllm_dtype"]) == (
        "vllm@one.service",
        "owner/shared",
        "float32",
    )
    assert (two.unit, two.model.name, two.settings["engine_vllm_dtype"]) == (
        "vllm@two.service",
        "owner/other",
        "auto",
    )


def test_null_in_an_item_unsets_the_word_of_its_host(tmp_path: Path) -> None:
    text = """\
all:
  hosts:
    gpu1:
      serve_engine: vllm
      serve_model: owner/model
      serve_address: 192.0.2.1
      engine_vllm_max_num_seqs: 8
      serve_services: [{serve_address: null, serve_model_source: null, engine_vllm_max_num_seqs: null}]
"""
    (service,) = fleet_of(tmp_path / "null.yml", text).hosts[0].services
    assert (service.address, service.model.source) == ("127.0.0.1", "huggingface")
    assert service.settings["engine_vllm_max_num_seqs"] is None


def test_modelscope_has_its_own_default_revision(tmp_path: Path) -> None:
    text = "gpu1 serve_engine=vllm serve_model=owner/model serve_model_source=modelscope\n"
    assert fleet_of(tmp_path / "ms.ini", text).hosts[0].services[0].model.revision == "master"


def test_a_host_without_a_service_is_no_mistake(tmp_path: Path) -> None:
    assert fleet_of(tmp_path / "bare.ini", "gpu1 serve_port=8001\n").hosts[0].services == ()


def test_templates_that_need_the_host_wait_for_run_time(tmp_path: Path) -> None:
    text = "gpu1 serve_engine=vllm serve_model='{{ ansible_facts.model }}' serve_port='{{ 8000 | random }}'\n"
    (host,) = fleet_of(tmp_path / "late.ini", text).hosts
    assert host.templated == ("serve_model", "serve_port")
    assert host.services[0].port is None


def test_a_name_that_a_template_refers_to_is_not_a_misspelling(tmp_path: Path) -> None:
    text = "gpu1 server_port=8001 serve_port='{{ server_port }}' serve_engine=vllm serve_model=owner/model\n"
    (service,) = fleet_of(tmp_path / "own.ini", text).hosts[0].services
    assert service.port == 8001
    lonely = problems_of(
        tmp_path / "lonely.ini", "gpu1 server_port=8001 serve_engine=vllm serve_model=owner/model\n"
    )
    assert lonely == [
        "server_port: is not a variable of this tool, and nothing refers to it; did you mean serve_port?"
    ]


def test_the_same_mistake_of_many_hosts_is_one_problem(tmp_path: Path) -> None:
    text = "[gpu]\ngpu[1:9] serve_modell=a/b\n[gpu:vars]\nserve_engine=vllm\nserve_model=a/b\n"
    text = text.replace("gpu[1:9]", "gpu[1:9] ansible_host='{{ inventory_hostname }}.example'")
    (problem,) = problems_of(tmp_path / "many.ini", text)
    assert problem.startswith("serve_modell")


def test_two_services_share_a_model_unless_they_choose_other_files(tmp_path: Path) -> None:
    text = "gpu1 serve_engine=vllm serve_model=a/b serve_services='{}'\n"
    shared = '[{"serve_name": "x"}, {"serve_name": "y", "serve_port": 8001}]'
    (host,) = fleet_of(tmp_path / "share.ini", text.format(shared)).hosts
    assert len({service.model for service in host.services}) == 1
    differ = (
        '[{"serve_name": "x"}, {"serve_name": "y", "serve_port": 8001, "serve_model_include": ["*.json"]}]'
    )
    (host,) = fleet_of(tmp_path / "differ.ini", text.format(differ)).hosts
    assert len({service.model.directory for service in host.services}) == 2


def test_addresses_decide_whether_equal_ports_clash(tmp_path: Path) -> None:
    item = '{{"serve_name": "{}", "serve_address": "{}"}}'
    text = "gpu1 serve_engine=vllm serve_model=a/b serve_expose=everything serve_services='[{}, {}]'\n"
    apart = text.format(item.format("x", "192.0.2.1"), item.format("y", "192.0.2.2"))
    assert len(fleet_of(tmp_path / "apart.ini", apart).hosts[0].services) == 2
    everywhere = text.format(item.format("x", "0.0.0.0"), item.format("y", "192.0.2.2"))
    (problem,) = problems_of(tmp_path / "all.ini", everywhere)
    assert problem.startswith("serve_services[2].serve_port")


def test_an_empty_choice_of_hosts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.ini"
    path.write_text("gpu1\n")
    with pytest.raises(InventoryError, match="contains no host"):
        spec.load(inventory.load(str(path), limit="nobody"))


def test_a_thousand_hosts_are_resolved_in_few_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = Mock(wraps=services.resolve)
    monkeypatch.setattr(services, "resolve", resolve)
    hosts = "h[0:999] ansible_host='{{ inventory_hostname }}'"
    text = f"[gpu]\n{hosts}\n[gpu:vars]\nserve_engine=vllm\nserve_model=a/b\n"
    fleet = fleet_of(tmp_path / "many.ini", text)
    assert (len(fleet.hosts), resolve.call_count) == (1000, 1)
