"""Harmful bodies are refused before they are decoded; every legal body is accepted."""

import json
import time
from typing import Any

import pytest

from api.middleware.body import decode
from api.middleware.problem import MalformedBody
from orchestrator.models.errors import InvalidInput
from orchestrator.rules.strict_json import MAX_DEPTH


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b"{'a': 1}",
        b"\xff\xfe{\x00}\x00",
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": "\x00"}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": -1e999}',
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 1}}',
        b'{"a": 18446744073709551616}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": 01}',
        b'{"a": "\\x41"}',
        b'{"a": 1} {"b": 2}',
        b'{"a": 1}\x00',
        b"[" * 30_000 + b"]" * 30_000,
        b"[" * 30_000,
        b'{"a":' * 30_000 + b"1" + b"}" * 30_000,
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
    ],
    ids=lambda raw: repr(raw[:24]),
)
def test_anything_but_strict_json_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedBody):
        decode(raw)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": [1, -2.5, 1e3, true, null, "\\u00e4\\n"]}', {"a": [1, -2.5, 1000.0, True, None, "ä\n"]}),
        (b'{"a": "\\ud83d\\ude00"}', {"a": "😀"}),
        (b'{"a": 18446744073709551615}', {"a": 2**64 - 1}),
        (b'{"a": "[[[[{{{{ \\" ]"}', {"a": '[[[[{{{{ " ]'}),
        (b'{"a\\\\": "\\\\"}', {"a\\": "\\"}),
        (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, None),
        (b'{"": ""}', {"": ""}),
        (b'"' + b"[" * 1000 + b'"', "[" * 1000),
    ],
    ids=lambda raw: repr(raw)[:24],
)
def test_strict_json_is_decoded(raw: bytes, value: Any) -> None:
    decoded = decode(raw)

    if value is not None:
        assert decoded == value


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"goal": "a\0b"}, "goal"),
        ({"context": {"deep": ["x", "\ud800"]}}, "context.deep.1"),
        ({"context": {"\0": 1}}, "context"),
        ("\udfff", "body"),
    ],
)
def test_characters_that_cannot_be_stored_are_reported_with_their_field(value: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        decode(json.dumps(value).encode())

    assert [error["field"] for error in refused.value.details["errors"]] == [field]


@pytest.mark.parametrize(
    "raw", [b"[]," * 350_000, b'"\\' * 500_000, b'["' + b"\\\\" * 500_000, b"{[" * 500_000, b'"' * 999_999]
)
def test_a_megabyte_of_malformed_json_is_refused_quickly(raw: bytes) -> None:
    started = time.perf_counter()

    with pytest.raises(MalformedBody):
        decode(raw)

    assert time.perf_counter() - started < 5
