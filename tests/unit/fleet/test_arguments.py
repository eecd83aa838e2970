# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.fleet import engines, rules, variables

VLLM = {"serve_engine": "vllm", "serve_model": "a/b"}
LLAMACPP = {"serve_engine": "llamacpp", "serve_model": "a/b-GGUF"}
SET = "is set from inventory variables and cannot be given again"


def said(base: dict[str, str], *arguments: object, **more: object) -> list[str]:
    own = {**base, **more, "serve_args": list(arguments)}
    defaults = {name: variables.defaults(engine.role) for name, engine in engines.load().items()}
    found = rules.resolve(own, defaults, Path("/nowhere")).findings
    return [f"{one.reason}; {one.hint}".removesuffix("; ") for one in found]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["--api-key", "x"], "--api-key"),
        (["--api_key=x"], "--api-key"),
        (["--api-k", "x"], "--api-k means --api-key, which"),
        (["--hos", "0.0.0.0"], "--hos means --host, which"),
        (["--hos=0.0.0.0"], "--hos means --host, which"),
        (["--served-mod", "x"], "--served-mod means --served-model-name, which"),
        (["--tensor_par", 2], "--tensor-par means --tensor-parallel-size, which"),
        (["-t", 2], "-t means -tp, which"),
        (["-tp=2"], "-tp"),
        (["-qfp8"], "-q"),
        (["--no-enforce"], "--no-enforce means --no-enforce-eager, which"),
        (["--enforce-e"], "--enforce-e means --enforce-eager, which"),
        (["--conf", "/x.yml"], None),
        (["--config=/x.yml"], "--config"),
        (["--seed", 1, "--por", 1], "--por means --port, which"),
    ],
)
def test_what_the_role_sets_is_found_in_every_spelling_that_vllm_reads(
    arguments: list[object], name: str | None
) -> None:
    (found,) = said(VLLM, *arguments)
    assert found == f"{name} {SET}" if name else "is ambiguous" in found


@pytest.mark.parametrize(
    "arguments",
    [
        ["--seed", 7],
        ["--seed=7", "--enable-prefix-caching"],
        ["--no-enable-prefix-caching"],
        ["--max-lora-rank", "64", "--lora-modules", "a=/a", "b=/b"],
        ["--hf-overrides.rope_scaling.factor", "2.0"],
        ["--hf_overrides", '{"a": 1}'],
        ["--limit-mm-per-prompt.image=4"],
        ["-O3"],
        ["-O", "2"],
        ["--enable-pref"],
        ["--tool-call-parser", "hermes", "--enable-auto-tool-choice"],
        ["--generation-config", "{{ later }}"],
        ["{{ later }}", "--seed", "{{ later }}"],
        ["--default-mm-loras", '{"x": "y z"}'],
        ["-pp", "2"],
    ],
)
def test_what_vllm_accepts_is_let_through(arguments: list[object]) -> None:
    assert said(VLLM, *arguments) == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--enable-prefix-cachng"], "--enable-prefix-cachng is not an option of vLLM 0.32.0"),
        (["--seed"], "--seed needs a value"),
        (["--seed", "--swap-space"], "--seed needs a value"),
        (["--seed", "seven"], "the value of --seed must be a whole number"),
        (["--seed", "1", "--seed=2"], "--seed is given twice, and only the last one would count"),
        (["--enable-prefix-caching=1"], "--enable-prefix-caching takes no value"),
        (["--enable-prefix-caching", "yes"], "item 2 belongs to no option"),
        (["--seed 7"], "item 1 belongs to no option"),
        (["--scheduling-policy", "lifo"], "the value of --scheduling-policy must be one of fcfs, priority"),
        (["--disable"], "--disable is ambiguous: vLLM 0.32.0 has --disable-"),
    ],
)
def test_what_vllm_would_refuse_at_its_start_is_refused_before(arguments: list[object], reason: str) -> None:
    assert said(VLLM, *arguments)[0].startswith(reason)


def test_of_another_build_only_what_the_role_sets_is_known() -> None:
    other = {**VLLM, "engine_vllm_cuda_version": "0.40.0"}
    assert said(other, "--brand-new", "x", "--seed", "seven") == []
    assert said(other, "--brand-new", "x", "--hos", "y") == [f"--hos means --host, which {SET}"]
    # There it may be unambiguous.
    assert said(other, "--m", "x")[0].endswith(SET)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--host", "x"], [f"--host {SET}"]),
        (["--ctx_size", "4096"], [f"--ctx-size {SET}"]),
        (["--n-gpu-layers", "1"], [f"--n-gpu-layers {SET}"]),
        # Aliases that only the list of the release has.
        (["--usage"], []),
        # llama.cpp reads whole names only.
        (["--hos", "x"], []),
        (["--temp", "0.5", "--no-warmup"], []),
    ],
)
def test_llamacpp_reads_whole_names_and_their_aliases(arguments: list[object], expected: list[str]) -> None:
    assert said(LLAMACPP, *arguments) == expected


@pytest.mark.parametrize(
    ("base", "name", "value", "says"),
    [
        (LLAMACPP, "LLAMA_ARG_TIMEOUT", "2k", "must be a number, written with digits alone"),
        (LLAMACPP, "LLAMA_ARG_THREADS_HTTP", "1e3", "must be a number, written with digits alone"),
        (LLAMACPP, "LLAMA_ARG_CONT_BATCHING", "yes", "must be 1 or 0"),
        (LLAMACPP, "LLAMA_ARG_CONT_BATCHING", True, "must be 1 or 0"),
        (LLAMACPP, "LLAMA_ARG_ROPE_SCALING_TYPE", "linaer", "did you mean linear?"),
        (VLLM, "VLLM_HTTP_TIMEOUT_KEEP_ALIVE", "5s", "must be a whole number"),
        (VLLM, "VLLM_ALLREDUCE_USE_FLASHINFER", True, "write 'true' or 1"),
        (VLLM, "VLLM_WORKER_MULTIPROC_METHOD", "thread", "must be one of spawn, fork"),
    ],
)
def test_a_value_that_the_engine_would_misread_is_refused(
    base: dict[str, str], name: str, value: object, says: str
) -> None:
    (found,) = said(base, serve_env={name: value})
    assert found.startswith(f"{name} = {value} ")
    assert says in found


@pytest.mark.parametrize(
    ("base", "name", "value"),
    [
        (LLAMACPP, "LLAMA_ARG_TIMEOUT", 600),
        (LLAMACPP, "LLAMA_ARG_TIMEOUT", "{{ later }}"),
        (LLAMACPP, "LLAMA_ARG_CONT_BATCHING", "off"),
        (LLAMACPP, "GGML_CUDA_FORCE_MMQ", "anything"),
        (LLAMACPP, "LLAMA_ARG_ROPE_SCALE", "0.5"),
        (VLLM, "VLLM_HTTP_TIMEOUT_KEEP_ALIVE", 5),
        (VLLM, "VLLM_LOGGING_LEVEL", "DEBUG"),
        (VLLM, "VLLM_FLOAT32_MATMUL_PRECISION", "HIGH"),
        (VLLM, "NCCL_DEBUG", "INFO"),
    ],
)
def test_a_value_that_fits_is_let_through(base: dict[str, str], name: str, value: object) -> None:
    assert said(base, serve_env={name: value}) == []
