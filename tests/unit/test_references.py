"""A reference stands for a part of an output, and many of them for no more than a step can take."""

import json
import tracemalloc
from typing import Any

import pytest

from orchestrator.models.errors import InvalidStepInput
from orchestrator.planner.references import MAX_RESOLVED_BYTES, resolve


def test_references_at_any_depth_are_replaced_by_what_they_mean() -> None:
    value = {"a": [{"$from": "s", "pointer": "/x/0"}], "b": {"$from": "s"}, "c": 1}

    assert resolve(value, {"s": {"x": ["y"]}}) == {"a": ["y"], "b": {"x": ["y"]}, "c": 1}


def test_many_references_to_one_large_output_are_refused_before_anything_is_copied() -> None:
    # 205 kB of plan were 1.5 GiB
    outputs = {"s": {"text": "x" * 300_000}}
    value = [{"$from": "s"}] * 5_000
    assert len(json.dumps(value)) < 205_000
    tracemalloc.start()

    with pytest.raises(InvalidStepInput, match=f"more than {MAX_RESOLVED_BYTES} bytes in all: refer to "):
        resolve({"values": value}, outputs)

    assert tracemalloc.get_traced_memory()[1] < MAX_RESOLVED_BYTES
    tracemalloc.stop()


@pytest.mark.parametrize("dense", [[[]] * 1_000_000, [{}] * 1_000_000, [0] * 1_000_000, [{"": 0}] * 500_000])
def test_what_is_short_as_text_and_large_in_memory_counts_as_it_is_in_memory(dense: list[Any]) -> None:
    with pytest.raises(InvalidStepInput, match="in all"):
        resolve([{"$from": "s"}, {"$from": "s"}], {"s": dense})


def test_a_large_output_may_be_referred_to_once() -> None:
    outputs = {"s": "x" * 16 * 1024 * 1024}

    assert resolve({"$from": "s"}, outputs) is outputs["s"]
