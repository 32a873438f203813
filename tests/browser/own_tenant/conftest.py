"""The fixtures of tests whose pages show all that a tenant has: each test has a tenant of its own."""

import secrets

import pytest
from playwright.sync_api import BrowserContext, Page

from orchestrator import settings
from orchestrator.auth import credential
from orchestrator.auth.credential import SCOPES
from orchestrator.devserver.stack import Stack
from tests.acceptance.client import Client
from tests.browser.conftest import new_key, sign_in
from tests.browser.faults import Faults, watch


@pytest.fixture
def tenant() -> str:
    """A tenant of the test's own, without tasks."""
    return f"own-{secrets.token_hex(4)}"


@pytest.fixture
def client(stack: Stack, tenant: str) -> Client:
    """A client of the API with every scope, of that tenant."""
    chosen = settings.load(stack.environ)
    return Client(stack.url, credential.sign_token(chosen, tenant=tenant, key_id="tests", scopes=SCOPES))


@pytest.fixture
def page(context: BrowserContext, stack: Stack, tenant: str, faults: Faults) -> Page:
    """A page that is signed in as that tenant."""
    sign_in(context, stack, new_key(stack, scopes=SCOPES, tenant=tenant))
    return watch(context.new_page(), faults)
