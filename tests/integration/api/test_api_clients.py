"""The generated parts of the clients are those of this API, and each operation has a method in both clients."""

import re
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from api.routes.docs import document_of
from clients.generator.files import generated
from clients.generator.operations import BY_HAND, WITHOUT_METHOD, methods
from octollm_client import AsyncClient, Client

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def document(app: Flask) -> dict[str, Any]:
    """The OpenAPI document that the API serves."""
    return document_of(app)


def test_the_generated_files_are_current(document: dict[str, Any]) -> None:
    outdated = [
        name for name, text in generated(document).items() if (ROOT / name).read_text("utf-8") != text
    ]

    assert outdated == [], "run `make clients`"


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_each_operation_has_a_method(
    kind: type[Client] | type[AsyncClient], document: dict[str, Any]
) -> None:
    client = kind("http://127.0.0.1:1")

    missing = [
        f"{method.group}.{method.name}"
        for method in methods(document)
        if not callable(getattr(getattr(client, method.group, None), method.name, None))
    ]

    assert missing == []


def test_each_operation_has_a_method_in_the_typescript_client(document: dict[str, Any]) -> None:
    lib = ROOT / "clients" / "typescript" / "lib"
    # the others are in the generated table, which is current
    by_hand = [method for method in methods(document) if method.operation_id in BY_HAND]

    for name in ("index.js", "index.d.ts"):
        text = (lib / name).read_text("utf-8")
        missing = [
            method.name for method in by_hand if not re.search(rf"^ +{method.name}[:(]", text, re.MULTILINE)
        ]
        assert missing == [], name


def test_what_has_no_method_or_a_handwritten_one_exists(document: dict[str, Any]) -> None:
    known = {one["operationId"] for item in document["paths"].values() for one in item.values()}

    assert known >= {*BY_HAND, *WITHOUT_METHOD}


def test_a_post_that_no_key_and_no_nature_protects_is_not_marked_as_repeatable(
    document: dict[str, Any],
) -> None:
    unprotected = {
        one["operationId"]
        for item in document["paths"].values()
        for one in item.values()
        if not one["x-idempotent"]
    }

    assert unprotected >= {
        "approvals_issue_link",
        "feedback_report",
        "keys_create",
        "keys_rotate",
        "session_sign_in",
    }
