"""Fixtures of the browser tests: one running stack and one Chromium a session, and pages that must have no faults.

They need playwright (`make test-browser` installs it) and a Chromium: $CHROMIUM, else the first one on PATH.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect, sync_playwright

from orchestrator import settings
from orchestrator.auth import credential
from orchestrator.auth.credential import SCOPES
from orchestrator.chord.database import open_engine, transaction
from orchestrator.devserver.stack import ONE_OF_EACH, Stack
from orchestrator.memory import keys
from tests.acceptance.client import Client
from tests.acceptance.model_stack import asking
from tests.browser.faults import Faults, watch
from tests.fake_llm.server import FakeLLM
from tests.ledger import ARMS_PATH, registered

TENANT = "acme"
WIDE: ViewportSize = {"width": 1280, "height": 800}
NARROW: ViewportSize = {"width": 360, "height": 740}

CheckAxe = Callable[[Page], None]

# generous, for a busy machine: a test that passes waits for none of them
_WAIT_MS = 20_000
expect.set_options(timeout=_WAIT_MS)


@pytest.fixture(scope="session")
def fake() -> Iterator[FakeLLM]:
    """The scripted model server that plans goals without a plan, and judges criteria without a check."""
    with FakeLLM() as running:
        yield running


@pytest.fixture(scope="session")
def stack(fake: FakeLLM, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack with its own servers; the tests of one session share it, each with tasks of its own."""
    no_limit = "1000000/minute"
    ledger = tmp_path_factory.mktemp("ledger") / "lines"
    # the ledger is an arm that fails on request
    with (
        registered("ledger"),
        asking(
            fake,
            processes={**ONE_OF_EACH, "ledger": 1},
            ARMS_PATH=str(ARMS_PATH),
            OCTOLLM_LEDGER=str(ledger),
            RECIPES_PATH=str(Path(__file__).parents[2] / "examples" / "recipes"),
            RATE_LIMIT=no_limit,
            SESSION_RATE_LIMIT=no_limit,
            FAILED_AUTH_LIMIT=no_limit,
        ) as running,
    ):
        yield running


@pytest.fixture(scope="session")
def client(stack: Stack) -> Client:
    """A client of the API with every scope, of the tenant that the pages are signed in as."""
    chosen = settings.load(stack.environ)
    return Client(stack.url, credential.sign_token(chosen, tenant=TENANT, key_id="tests", scopes=SCOPES))


@pytest.fixture
def api_key(stack: Stack) -> str:
    """A new API key with every scope."""
    return new_key(stack, scopes=SCOPES)


def new_key(stack: Stack, *, scopes: tuple[str, ...], tenant: str = TENANT) -> str:
    """Return a new API key with some scopes."""
    engine = open_engine(stack.database_url, pool_size=1)
    try:
        with transaction(engine) as conn:
            return keys.create(conn, tenant=tenant, scopes=scopes)[1]
    finally:
        engine.dispose()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium without a window."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    assert found, "install chromium, or set CHROMIUM to its path"
    with sync_playwright() as playwright:
        # root can't use its sandbox, and the pages are ours
        running = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def context(browser: Browser, stack: Stack) -> Iterator[BrowserContext]:
    """A browser profile of the test's own, in which nobody is signed in."""
    made = browser.new_context(base_url=stack.url, viewport=WIDE)
    made.set_default_timeout(_WAIT_MS)
    yield made
    made.close()


@pytest.fixture
def faults() -> Iterator[Faults]:
    """What went wrong in the test's pages, such as errors in the console and CSP reports: the test fails if any did."""
    found = Faults()
    yield found
    found.require_none()


@pytest.fixture
def stranger(context: BrowserContext, faults: Faults) -> Page:
    """A page in which nobody is signed in."""
    return watch(context.new_page(), faults)


@pytest.fixture
def page(context: BrowserContext, stack: Stack, api_key: str, faults: Faults) -> Page:
    """A page that is signed in with every scope, at no address yet."""
    sign_in(context, stack, api_key)
    return watch(context.new_page(), faults)


def sign_in(context: BrowserContext, stack: Stack, api_key: str) -> None:
    """Open a session in a browser profile."""
    answer = context.request.post(
        "/v1/auth/session", data={"api_key": api_key}, headers={"Origin": stack.url}
    )
    assert answer.status == 201, answer.text()


@pytest.fixture(scope="session")
def axe() -> CheckAxe:
    """Return a function that fails for a page with a serious or critical violation of WCAG, in either theme."""
    checker = Axe()

    def check(page: Page) -> None:
        themes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
        for theme in themes:
            page.emulate_media(color_scheme=theme)
            violations: list[dict[str, Any]] = checker.run(page).response["violations"]
            serious = [
                (one["id"], one["help"], [node["html"] for node in one["nodes"]][:5])
                for one in violations
                if one["impact"] in {"serious", "critical"}
            ]
            assert not serious, (theme, serious)

    return check
