"""The documentation's site over HTTP: its files and nothing else, with a policy that names its inline scripts."""

import hashlib
from base64 import b64encode
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api.routes import guide

INLINE = "document.title = 'é'"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in place of what `make docs` writes; it is empty."""
    monkeypatch.setattr(guide, "SITE", tmp_path / "site")
    (tmp_path / "site").mkdir()
    (tmp_path / "secret.html").write_text("told")
    return tmp_path / "site"


@pytest.fixture
def client(app: Flask, site: Path) -> FlaskClient:
    """A browser."""
    return app.test_client()


@pytest.fixture
def built(site: Path) -> Path:
    """The directory with a page and a script."""
    (site / "index.html").write_text(f"<script>{INLINE}</script><script src=a.js></script>", encoding="utf-8")
    (site / "a.js").write_text("1")
    (site / "notes.md").write_text("not a part of the site")
    return site


def test_a_page_may_run_its_own_scripts_only(client: FlaskClient, built: Path) -> None:
    answer = client.get("/docs/guide/")
    digest = b64encode(hashlib.sha256(INLINE.encode()).digest()).decode()

    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    assert f"script-src 'self' 'sha256-{digest}';" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert client.get("/docs/guide/a.js").mimetype == "text/javascript"
    (built / "index.html").write_text("<script>2</script>")
    assert digest not in client.get("/docs/guide/").headers["Content-Security-Policy"]


def test_the_address_without_a_slash_leads_to_the_pages(client: FlaskClient) -> None:
    answer = client.get("/docs/guide")

    assert (answer.status_code, answer.headers["Location"]) == (308, "/docs/guide/")


@pytest.mark.parametrize(
    "name", ["none.html", "../secret.html", "%2e%2e/secret.html", "notes.md", "a.js/", "/etc/hosts.html"]
)
def test_nothing_else_is_served(client: FlaskClient, built: Path, name: str) -> None:
    answer = client.get(f"/docs/guide/{name}", headers={"Accept": "application/json"})

    assert answer.status_code == 404
    assert b"told" not in answer.data


def test_a_server_without_the_site_says_how_to_make_it(client: FlaskClient, site: Path) -> None:
    answer = client.get("/docs/guide/", headers={"Accept": "application/json"})

    assert answer.status_code == 404
    assert "make docs" in answer.get_json()["detail"]
    assert b"/docs/guide/" not in client.get("/docs").data


def test_the_page_of_the_api_leads_to_the_site(client: FlaskClient, built: Path) -> None:
    assert b'href="/docs/guide/"' in client.get("/docs").data
