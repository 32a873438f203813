"""Data is converted between formats without loss where both can hold it, as a text and as a file."""

import json
from typing import Any

import pytest

from orchestrator.models.errors import InvalidStepInput
from tests.unit.arm_kit import assignment, run

CSV = b'id,name,price\n007,"bolt, long",0.10\n2,nut | x,0.2\n'
ROWS: list[dict[str, Any]] = [
    {"id": "007", "name": "bolt, long", "price": "0.10"},
    {"id": 2, "name": "nut | x", "price": 0.2},
]


def convert(name: str, content: bytes, to: str, **inputs: Any) -> dict[str, Any]:
    given = assignment("writer", "convert", {"to": to, **inputs}, files={name: content})
    output: dict[str, Any] = run(given).output
    return output


def test_a_cell_becomes_a_number_only_if_it_is_written_as_json_writes_it() -> None:
    found = convert("a.csv", CSV, "json")

    assert json.loads(found["text"]) == ROWS
    assert [(file["name"], file["size_bytes"]) for file in found["files"]] == [
        ("a.json", len(found["text"].encode()))
    ]
    assert found["summary"] == "a.csv converted from csv to json: 2 rows, a.json"


@pytest.mark.parametrize("ways", [("json",), ("yaml",), ("markdown",), ("yaml", "json", "markdown")])
def test_a_table_comes_back_from_every_format(ways: tuple[str, ...]) -> None:
    endings = {"json": "json", "yaml": "yaml", "markdown": "md"}
    name, text = "a.csv", CSV.decode()
    for way in ways:
        text = convert(name, text.encode(), way)["text"]
        name = f"a.{endings[way]}"

    assert convert(name, text.encode(), "csv")["text"] == CSV.decode()


def test_values_that_are_no_tables_pass_between_json_and_yaml() -> None:
    assert convert("a.yaml", "a: {b: [1, null, ü]}\nd: 2026-11-28\n".encode(), "json")["text"] == (
        json.dumps({"a": {"b": [1, None, "ü"]}, "d": "2026-11-28"}, indent=2, ensure_ascii=False) + "\n"
    )


def test_what_a_cell_cannot_hold_is_json_in_the_cell() -> None:
    found = convert("a.json", b'[{"a": [1, 2]}, {"b": null}]', "csv")

    assert found["text"] == 'a,b\n"[1, 2]",\n,\n'


@pytest.mark.parametrize(
    ("name", "content", "to", "told"),
    [
        ("a.json", b"{", "csv", "a.json is not json: is not JSON"),
        ("a.json", b"[" * 100_000, "yaml", "nested deeper"),
        ("a.yaml", b"a: &x [1]\nb: *x", "json", "aliases"),
        ("a.yaml", b"- !!python/object:os.system x", "json", "a.yaml is not yaml"),
        ("a.yaml", b"[" * 5_000, "json", "a.yaml is not yaml"),
        ("a.md", b"no table", "csv", "holds no table"),
        ("a.json", b'[{"a": 1}, 2]', "csv", "objects beside other values"),
        ("a.txt", b"a", "csv", "give `from`, one of csv, json, markdown, yaml"),
    ],
)
def test_what_cannot_be_converted_is_told(name: str, content: bytes, to: str, told: str) -> None:
    with pytest.raises(InvalidStepInput, match=told):
        convert(name, content, to)
