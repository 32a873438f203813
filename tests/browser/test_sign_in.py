"""Signing in and out in a browser."""

from playwright.sync_api import Page, expect

from tests.browser.conftest import CheckAxe
from tests.browser.faults import Faults


def test_an_api_key_signs_in_and_shows_the_page_that_was_asked_for(
    stranger: Page, api_key: str, faults: Faults, axe: CheckAxe
) -> None:
    faults.allow(r"401 .*/v1/auth/session")
    stranger.goto("/tasks?status=failed")
    expect(stranger.get_by_role("heading", name="Sign in")).to_be_visible()
    axe(stranger)

    stranger.get_by_label("API key").fill(api_key)
    stranger.get_by_role("button", name="Sign in").click()

    expect(stranger.get_by_role("heading", name="Tasks")).to_be_visible()
    assert stranger.url.endswith("/tasks?status=failed")
    expect(stranger.get_by_role("navigation", name="Main").get_by_role("link", name="Tasks")).to_be_visible()
    axe(stranger)


def test_signing_out_ends_the_session(page: Page, faults: Faults) -> None:
    faults.allow(r"401 .*/v1/")
    page.goto("/")
    page.get_by_role("button", name="Sign out").click()

    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto("/tasks")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
