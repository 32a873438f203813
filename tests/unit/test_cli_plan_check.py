"""The line of each value of a plan's file is known, in JSON and in YAML."""

import json

import pytest

from orchestrator.cli.plan_check import lines_of

YAML = """\
# a plan
steps:
  - id: a
    inputs:
      "x/y": [1,
        2]
result: {}
"""
JSON = '{\n\t"steps": [\n\t\t{"id":"a",\t"inputs": {\n\t\t\t"x/y": [1,\n2]}}\n\t],\n"result":{}}'


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (YAML, {"/steps": 2, "/steps/0": 3, "/steps/0/inputs": 4, "/steps/0/inputs/x~1y/1": 6, "/result": 7}),
        (JSON, {"/steps": 2, "/steps/0": 3, "/steps/0/inputs": 3, "/steps/0/inputs/x~1y/1": 5, "/result": 7}),
        ("[{}]", {"": 1, "/0": 1}),
    ],
)
def test_the_line_of_a_member_is_that_of_its_name(text: str, wanted: dict[str, int]) -> None:
    found = lines_of(text)

    assert {pointer: found[pointer] for pointer in wanted} == wanted


def test_a_text_whose_lines_are_not_known_has_none() -> None:
    assert lines_of("{") == {}
    assert lines_of("") == {}
    assert lines_of(json.dumps({"k" * 2000: 1})) in ({}, {"": 1, f"/{'k' * 2000}": 1})
