# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from provisioner.fleet import knobs
from provisioner.fleet.engines import Limit
from tests.unit.fleet.made_up import reasons


@pytest.mark.parametrize(
    ("limit", "value", "reason"),
    [
        (Limit(minimum=1), 0, "must be at least 1"),
        (Limit(maximum=8), 9, "must be at most 8"),
        (Limit(minimum=1, maximum=8), 9, "must be between 1 and 8"),
        (Limit(above=0, maximum=1), 0.0, "must be above 0 and at most 1"),
        (Limit(above=0, maximum=1), float("nan"), "must be above 0 and at most 1"),
        (Limit(minimum=0, meaning="a size"), -1, "must be a size"),
        (Limit(pattern="[a-z]+"), "A", "must be of the form [a-z]+"),
        (Limit(pattern="[a-z]+"), ["a", "B"], "must be of the form [a-z]+"),
        (Limit(pattern="[a-z]+", meaning="small letters"), "a\n", "must be small letters"),
    ],
)
def test_a_value_outside_of_its_limit_is_told_what_it_must_be(limit: Limit, value: Any, reason: str) -> None:
    assert knobs.beyond(limit, value) == reason


@pytest.mark.parametrize("value", [None, "", [], 1, 0.5, "{{ later }}", "of another type"])
def test_unset_later_and_mistyped_values_are_not_judged(value: Any) -> None:
    assert knobs.beyond(Limit(above=0, maximum=1), value) is None


@pytest.mark.usefixtures("made_up_engine")
class TestOfAnEngine:
    def test_limits_hold_for_its_words(self) -> None:
        assert reasons(engine_abacus_weight=1.5) == ["engine_abacus_weight: must be above 0 and at most 1"]
        assert reasons(engine_abacus_colours=["Red"], engine_abacus_frame="oak") == [
            "engine_abacus_colours: must be a colour in small letters"
        ]

    def test_a_wrong_type_is_reported_once(self) -> None:
        assert reasons(engine_abacus_rows="few") == ["engine_abacus_rows: must be a whole number"]

    def test_words_that_contradict_each_other_are_refused(self) -> None:
        assert reasons(engine_abacus_frame="brass", engine_abacus_varnish=True) == [
            (
                "engine_abacus_varnish: cannot be combined with engine_abacus_frame = brass: "
                "metal cannot be varnished"
            )
        ]
        assert not reasons(engine_abacus_frame="oak", engine_abacus_varnish=True)
        assert not reasons(engine_abacus_frame="brass", engine_abacus_varnish="{{ later }}")

    def test_the_word_that_the_inventory_holds_is_blamed(self) -> None:
        words: dict[str, Any] = {"engine_abacus_frame": "steel", "serve_env": {"ABACUS_VARNISH": "yes"}}
        assert reasons(**words) == [
            (
                "serve_env: ABACUS_VARNISH = true cannot be combined with engine_abacus_frame = steel: "
                "metal cannot be varnished"
            )
        ]

    def test_any_value_of_one_word_may_ask_for_one_of_another(self) -> None:
        assert reasons(engine_abacus_colours=["red"], engine_abacus_frame="brass") == [
            (
                "engine_abacus_frame: cannot be combined with engine_abacus_colours = ['red']: "
                "only oak can be dyed"
            )
        ]
        assert not reasons(engine_abacus_colours=[], engine_abacus_frame="brass")

    def test_a_key_is_refused_where_nothing_checks_it(self) -> None:
        (reason, _) = reasons(serve_api_key_file="key")
        assert reason == (
            "serve_api_key_file: cannot be set: Abacus does not support API keys; "
            "remove it, and put a gateway that checks keys in front"
        )


def test_the_limits_of_vllm_are_those_of_its_arguments() -> None:
    vllm = {"serve_engine": "vllm", "serve_model": "a/b"}
    assert reasons(**vllm, engine_vllm_gpu_memory_utilization=92) == [
        "engine_vllm_gpu_memory_utilization: must be above 0 and at most 1"
    ]
    assert reasons(**vllm, engine_vllm_max_num_seqs=0) == ["engine_vllm_max_num_seqs: must be at least 1"]
