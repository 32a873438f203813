"""Attacks on the console's session by other pages, in a real browser."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from orchestrator import settings
from orchestrator.cli.console import sign_in_link
from orchestrator.devserver.stack import Stack
from tests.acceptance.client import Client
from tests.browser.conftest import sign_in
from tests.browser.faults import Faults


class _Evil(BaseHTTPRequestHandler):
    """Answers each request with the page that the test has set."""

    html = ""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(self.html.encode())

    def log_message(self, *_: object) -> None: ...


@contextmanager
def evil_page(html: str) -> Iterator[str]:
    """Serve a page at another port of our own host, which is the same site: SameSite cookies are sent from there."""
    handler = type("Evil", (_Evil,), {"html": html})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def victim(context: BrowserContext, stack: Stack, api_key: str) -> Page:
    """A page of a signed-in reader, whose console may have errors: other pages are shown in it."""
    sign_in(context, stack, api_key)
    return context.new_page()


FORM = """<form method="post" action="{url}{path}" enctype="{enctype}">
<input name='{{"goal": "stolen", "x": "' value='"}}'></form><script>document.forms[0].submit()</script>"""


@pytest.mark.parametrize("enctype", ["text/plain", "application/x-www-form-urlencoded"])
def test_a_form_of_another_page_submits_no_task(
    victim: Page, stack: Stack, client: Client, enctype: str
) -> None:
    html = FORM.format(url=stack.url, path="/v1/tasks", enctype=enctype)
    with (
        evil_page(html) as evil,
        victim.expect_response(lambda answer: answer.url == f"{stack.url}/v1/tasks") as sent,
    ):
        victim.goto(evil, wait_until="commit")

    assert sent.value.status == 403
    # the browser did send the session: it is our check of Origin that refused it
    assert "octollm_session" in sent.value.request.all_headers().get("cookie", "")
    goals = [task["goal"] for task in client.call("GET", "/v1/tasks").body["tasks"]]
    assert "stolen" not in goals


def test_a_script_of_another_page_reads_and_changes_nothing(victim: Page, stack: Stack) -> None:
    port = stack.url.rpartition(":")[2]
    with evil_page("<h1>evil</h1>") as evil:
        victim.goto(evil)
        outcome = victim.evaluate(
            """async ([url, socket]) => {
              const attempt = (path, options) => fetch(url + path, {credentials: "include", ...options})
                .then((answer) => answer.text()).catch((error) => error.name);
              const opened = await new Promise((resolve) => {
                const stream = new WebSocket(socket);
                stream.onopen = () => resolve("open");
                stream.onerror = () => resolve("refused");
              });
              return {
                read: await attempt("/v1/tasks"),
                changed: await attempt("/v1/tasks", {method: "POST", body: '{"goal": "stolen"}',
                  headers: {"Content-Type": "application/json"}}),
                signedIn: await attempt("/v1/auth/session", {method: "POST", body: '{"api_key": "x"}',
                  headers: {"Content-Type": "application/json"}}),
                signedOut: await attempt("/v1/auth/session", {method: "DELETE"}),
                opened,
              };
            }""",
            [stack.url, f"ws://127.0.0.1:{port}/v1/tasks/task_0000000000000000/stream"],
        )

    assert set(outcome.values()) == {"TypeError", "refused"}, outcome
    victim.goto(stack.url)
    expect(victim.get_by_role("heading", name="Tasks")).to_be_visible()


def test_no_other_page_can_frame_the_console(victim: Page, stack: Stack) -> None:
    with evil_page(f'<iframe src="{stack.url}/"></iframe>') as evil:
        victim.goto(evil)
        expect(victim.locator("iframe")).to_be_attached()
        frame = victim.frames[1]

        assert frame.locator("#console").count() == 0
        assert frame.url.startswith("chrome-error:")


def test_markup_and_scripts_that_get_into_the_page_do_not_run(page: Page, faults: Faults) -> None:
    faults.allow(r"(?i)CSP|content security policy|TrustedHTML|TrustedScript")
    page.goto("/")
    expect(page.get_by_role("heading", name="Tasks")).to_be_visible()

    outcome = page.evaluate(
        """() => {
          const attempt = (act) => { try { act(); return "done"; } catch (error) { return error.name; } };
          const script = document.createElement("script");
          script.append("window.isStolen = true");
          return [
            attempt(() => { document.body.innerHTML = "<img src=x onerror='window.isStolen = true'>"; }),
            attempt(() => document.body.append(script)),
            attempt(() => trustedTypes.createPolicy("mine", {createHTML: (text) => text})),
            window.isStolen ?? false,
          ];
        }"""
    )

    assert outcome == ["TypeError", "done", "TypeError", False]


@pytest.mark.parametrize(
    "back",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\\\evil.example/",
        "javascript:alert(1)",
        "\t//evil.example",
        "/%09/evil.example",
        "/sign-in?back=//evil.example",
    ],
)
def test_signing_in_leads_to_no_other_host(
    stranger: Page, stack: Stack, api_key: str, back: str, faults: Faults
) -> None:
    faults.allow("401|404")
    stranger.goto("/sign-in")
    stranger.evaluate(
        "(back) => history.replaceState(null, '', '/sign-in?back=' + encodeURIComponent(back))", back
    )
    stranger.evaluate("() => dispatchEvent(new PopStateEvent('popstate'))")
    stranger.get_by_label("API key").fill(api_key)
    stranger.get_by_role("button", name="Sign in").click()

    expect(stranger.get_by_role("button", name="Sign out")).to_be_visible()
    assert stranger.url.startswith(f"{stack.url}/")


def test_a_link_signs_in_once_and_its_code_leaves_the_address(
    stranger: Page, stack: Stack, context: BrowserContext, faults: Faults
) -> None:
    faults.allow("401 .*/v1/auth/session")
    link = sign_in_link(stack.url, settings.load_signing(stack.environ), redis_url=stack.redis_url)
    asked: list[str] = []
    stranger.on("request", lambda request: asked.append(request.url))
    stranger.goto(link)
    expect(stranger.get_by_role("heading", name="Tasks")).to_be_visible()
    code = link.partition("#code=")[2]

    assert code not in stranger.url
    assert not [url for url in asked if code in url.partition("#")[0]]
    assert stranger.evaluate("() => history.length") == 2

    context.clear_cookies()
    stranger.goto("about:blank")
    stranger.goto(link)
    expect(stranger.get_by_text("was used or is older than 15 minutes")).to_be_visible()
