"""The console's page and files: what a browser gets, and what it is told to refuse."""

import hashlib
import re
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from api.routes.console import PAGES, STATIC
from tests.integration.api.assertions import assert_problem

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
SCRIPTED = {"Accept": "application/json"}
FILES = sorted(
    path.relative_to(STATIC).as_posix()
    for path in STATIC.rglob("*")
    if path.suffix in {".js", ".css", ".svg", ".txt"}
)


def directives(answer: TestResponse) -> dict[str, str]:
    """Return the content security policy by directive."""
    parts = (part.strip().partition(" ") for part in answer.headers["Content-Security-Policy"].split(";"))
    return {name: values for name, _, values in parts}


@pytest.mark.parametrize("path", [page.replace("<name>", "task_0000000000000000") for page in PAGES])
def test_each_page_has_the_same_document(app: Flask, path: str) -> None:
    answer = app.test_client().get(path, headers=BROWSER)

    assert answer.status_code == 200
    assert answer.mimetype == "text/html"
    assert 'src="/console/main.js"' in answer.text


def test_the_policy_allows_nothing_but_our_own_files(app: Flask) -> None:
    answer = app.test_client().get("/tasks?x=1", headers=BROWSER)
    policy = directives(answer)

    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert (policy["require-trusted-types-for"], policy["trusted-types"]) == ("'script'", "octollm")
    assert not {"unsafe-inline", "unsafe-eval", "data:", "blob:", "*", "http", "ws:"} & set(
        re.split(r"[ ';]+", answer.headers["Content-Security-Policy"])
    )
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"


def test_the_document_has_nothing_inline_and_names_only_files_that_exist(app: Flask) -> None:
    html = app.test_client().get("/", headers=BROWSER).text
    named = re.findall(r'(?:src|href)="([^"]*)"', html)

    assert re.findall(r"<script[^>]*>([^<]*)</script>", html) == [""]
    assert not re.search(r"<style|\sstyle=|\son\w+=", html)
    assert "/docs" in named
    for address in named:
        assert app.test_client().get(address).status_code == 200, address


@pytest.mark.parametrize("name", FILES)
def test_each_file_has_its_type_and_is_checked_for_changes(app: Flask, name: str) -> None:
    client = app.test_client()
    answer = client.get(f"/console/{name}")
    types = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml", "txt": "text/plain"}

    assert answer.status_code == 200
    assert answer.mimetype == types[name.rpartition(".")[2]]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert (
        client.get(f"/console/{name}", headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
    )


@pytest.mark.parametrize(
    "name",
    [
        "../../../setup.cfg",
        "..%2f..%2f..%2fsetup.cfg",
        "%2e%2e/%2e%2e/routes/console.py",
        "pages/../../vendor/entry.js",
        "..\\..\\app.py",
        "/etc/passwd",
        "//etc/passwd",
        "main.js/",
        "main.js%00.css",
        "vendor.d.ts",
        "index.html",
        "pages",
        "pages/",
        ".",
        "a" * 5000 + ".js",
    ],
)
def test_no_other_file_is_served(app: Flask, name: str) -> None:
    answer = app.test_client().get(f"/console/{name}", headers=BROWSER)

    assert_problem(answer, 404, "endpoint_not_found")


def test_an_unknown_address_is_a_page_for_browsers_and_a_problem_for_clients(app: Flask) -> None:
    client = app.test_client()

    page = client.get("/no/such/page", headers=BROWSER)
    assert (page.status_code, page.mimetype) == (404, "text/html")
    assert "Content-Security-Policy" in page.headers
    for headers in (SCRIPTED, {"Accept": "*/*"}, {}):
        assert_problem(client.get("/no/such/page", headers=headers), 404, "endpoint_not_found")
    assert_problem(client.get("/v1/no/such", headers=BROWSER), 404, "endpoint_not_found")
    assert_problem(client.post("/no/such/page", headers=BROWSER), 404, "endpoint_not_found")
    assert_problem(client.post("/tasks", headers=BROWSER), 405, "method_not_allowed")


def test_what_was_at_the_root_stays(app: Flask) -> None:
    client = app.test_client()

    assert [client.get(path, headers=BROWSER).mimetype for path in ("/health", "/openapi.json", "/docs")] == [
        "application/json",
        "application/json",
        "text/html",
    ]


def test_the_bundle_is_the_one_that_was_reviewed() -> None:
    """`make console-vendor` makes it; a change must show in this file."""
    digest = hashlib.sha256((STATIC / "vendor.js").read_bytes()).hexdigest()

    assert digest == "f3346ef2708993eedbb196db95347e516901f0d25e075bd5b825243e5f7be7b5"


def test_no_script_of_ours_writes_markup_or_evaluates_text() -> None:
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|dangerouslySetInnerHTML|\beval\(|new Function|https?://"
    )
    own = [path for path in STATIC.rglob("*.js") if path.name != "vendor.js"]

    found = [
        f"{path.relative_to(STATIC)}: {line.strip()}"
        for path in own
        for line in path.read_text(encoding="utf-8").splitlines()
        if forbidden.search(line)
    ]
    assert not found
    assert len(own) > 10


def test_every_file_of_the_console_is_in_the_package() -> None:
    root = STATIC.parents[2]
    patterns = re.search(r"\* = (.*)", (root / "setup.cfg").read_text(encoding="utf-8"))[1].split(", ")
    suffixes = {pattern.removeprefix("*") for pattern in patterns}

    assert {Path(name).suffix for name in [*FILES, "index.html"]} <= suffixes
