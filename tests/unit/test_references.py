"""References are replaced by parts of outputs, up to a limit of memory for a step."""

import json
import tracemalloc
from typing import Any

import pytest

from orchestrator.models.errors import InvalidStepInput
from orchestrator.planner.references import MAX_RESOLVED_BYTES, resolve


def test_references_at_any_depth_are_replaced_by_their_values() -> None:
    value = {"a": [{"$from": "s", "pointer": "/x/0"}], "b": {"$from": "s"}, "c": 1}

    assert resolve(value, {"s": {"x": ["y"]}}) == {"a": ["y"], "b": {"x": ["y"]}, "c": 1}


def test_many_references_to_one_large_output_are_refused_before_anything_is_copied() -> None:
    # without the limit 205 kB of plan became 1.5 GiB
    outputs = {"s": {"text": "x" * 300_000}}
    value = [{"$from": "s"}] * 5_000
    assert len(json.dumps(value)) < 205_000
    tracemalloc.start()

    with pytest.raises(InvalidStepInput, match=f"more than {MAX_RESOLVED_BYTES} bytes in all: refer to "):
        resolve({"values": value}, outputs)

    assert tracemalloc.get_traced_memory()[1] < MAX_RESOLVED_BYTES
    tracemalloc.stop()


@pytest.mark.parametrize("dense", [[[]] * 1_000_000, [{}] * 1_000_000, [0] * 1_000_000, [{"": 0}] * 500_000])
def test_values_count_by_their_size_in_memory_not_as_text(dense: list[Any]) -> None:
    with pytest.raises(InvalidStepInput, match="in all"):
        resolve([{"$from": "s"}, {"$from": "s"}], {"s": dense})


def test_one_reference_to_a_large_output_is_allowed() -> None:
    outputs = {"s": "x" * 16 * 1024 * 1024}

    assert resolve({"$from": "s"}, outputs) is outputs["s"]
