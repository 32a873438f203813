"""Collects what goes wrong in a page: errors and warnings in its console, uncaught exceptions, CSP reports."""

import re

from playwright.sync_api import ConsoleMessage, Page

_REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`CSP: ${event.effectiveDirective} blocked ${event.blockedURI} at ${event.sourceFile}`));
"""


class Faults:
    """The faults of a test's pages."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._allowed: list[re.Pattern[str]] = []

    def allow(self, pattern: str) -> None:
        """Accept faults that match, from before and after: such as Chromium's own line about an expected 401."""
        self._allowed.append(re.compile(pattern))

    def require_none(self) -> None:
        """Fail if there were faults other than the allowed ones."""
        left = [fault for fault in self.found if not any(one.search(fault) for one in self._allowed)]
        assert not left, left


def watch(page: Page, faults: Faults) -> Page:
    """Collect a page's faults; call it before the page is loaded. Return the page."""

    def on_console(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            place = message.location
            faults.found.append(f"{message.type}: {message.text} ({place.get('url')})")

    page.add_init_script(_REPORT_VIOLATIONS)
    page.on("console", on_console)
    page.on("pageerror", lambda error: faults.found.append(f"exception: {error}"))
    return page
