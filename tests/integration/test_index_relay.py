"""The relay to the package index: what it serves, what it keeps to itself, and what a sandbox reaches beside it."""

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import index_kit
from tests.index_kit import PASSWORD, LocalIndex, wheel
from workers.environments.index_pages import parse_page
from workers.environments.index_relay import Index, IndexRelay
from workers.sandbox.backend import Access, Isolation, ToolLimits
from workers.sandbox.run import run
from workers.sandbox.selection import backend_of

LOUDER = wheel("louder", "0.3", louder="")
ATTEMPTS = """
import json, socket, sys

def attempt(number, kind=socket.SOCK_STREAM, family=socket.AF_INET, protocol=0):
    try:
        with socket.socket(family, kind, protocol) as made:
            made.settimeout(3)
            made.connect(("127.0.0.1", number))
            return True
    except OSError:
        return False

def fast_open(number):
    try:
        with socket.socket() as made:
            return made.sendto(b"x", socket.MSG_FASTOPEN, ("127.0.0.1", number)) > 0
    except OSError:
        return False

port, other = map(int, sys.argv[1:])
print(json.dumps([
    attempt(port), attempt(other), attempt(port, socket.SOCK_DGRAM), attempt(other, protocol=262), fast_open(other),
]))
"""


@pytest.fixture
def index() -> Iterator[LocalIndex]:
    """An index with one wheel and one archive of sources."""
    with index_kit.serving(with_tools=False) as served:
        served.add(*LOUDER)
        served.add("louder-0.3.tar.gz", b"sources")
        yield served


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return bytes(answer.read())


def test_a_page_leads_to_wheels_at_the_relay_and_holds_no_address_of_the_index(index: LocalIndex) -> None:
    relay = IndexRelay(Index(index.url), 10**6)

    with relay.serving(None) as port:
        here = f"http://127.0.0.1:{port}"
        page = get(f"{here}/{relay.token}/simple/louder/")
        (file,) = json.loads(page)["files"]
        content = get(here + file["url"])

    assert (file["filename"], content) == LOUDER
    assert str(index.port).encode() not in page
    assert PASSWORD.encode() not in page


@pytest.mark.parametrize(
    "path",
    [
        "/{wrong}/simple/louder/",
        "/{token}/simple/louder/more",
        "/{token}/simple/../files/",
        "/{token}/simple/../",
        "/{token}/simple/./",
        "/{token}/files/00000000000000000000000000000000/louder-0.3-py3-none-any.whl",
        "/{token}/files/http://127.0.0.1/x",
        "/",
    ],
)
def test_what_no_page_names_is_not_asked(path: str, index: LocalIndex) -> None:
    relay = IndexRelay(Index(index.url), 10**6)

    with relay.serving(None) as port, pytest.raises(urllib.error.HTTPError, match="404"):
        get(f"http://127.0.0.1:{port}" + path.format(token=relay.token, wrong="0" * 32))

    assert index.asked == []


def test_more_than_allowed_is_not_relayed(index: LocalIndex) -> None:
    relay = IndexRelay(Index(index.url), 10)

    with relay.serving(None) as port, pytest.raises(urllib.error.HTTPError, match="502"):
        get(f"http://127.0.0.1:{port}/{relay.token}/simple/louder/")

    assert relay.fault == "the packages are more than 10 bytes to download"


def test_only_the_index_itself_gets_its_password() -> None:
    index = Index("https://reader:secret@index.example/simple")

    own = index.request("https://index.example/files/a.whl", {}, method="GET")
    other = index.request("https://files.example/a.whl", {}, method="GET")

    assert own.get_header("Authorization")
    assert other.get_header("Authorization") is None
    assert index.url == "https://index.example/simple/"


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://files.example/a.whl", True),
        ("http://index.example/a.whl", False),
        ("http://127.0.0.1/a.whl", False),
        ("file:///etc/passwd", False),
        ("ftp://index.example/a.whl", False),
    ],
)
def test_a_page_of_https_leads_to_https_only(url: str, allowed: bool) -> None:
    page = json.dumps({"files": [{"filename": "a-1-py3-none-any.whl", "url": url, "hashes": {}}]}).encode()

    listed = parse_page(page, "application/vnd.pypi.simple.v1+json", "https://index.example/simple/a/")

    assert bool(listed) == allowed
    assert Index("https://index.example/simple").allows(url) == allowed


@pytest.mark.parametrize("isolation", list(Isolation)[1:])
def test_a_sandbox_with_a_port_reaches_that_port_over_tcp_and_nothing_else(
    isolation: Isolation, tmp_path: Path, index: LocalIndex
) -> None:
    """Under `strong` the sandbox has a loopback of its own, in which nobody listens."""
    backend = backend_of(isolation)
    assert not isinstance(backend, str), backend
    inputs = tmp_path / "inputs"
    inputs.mkdir()

    with (
        index_kit.serving(with_tools=False) as other,
        backend.cell(inputs, ToolLimits(), Access(port=index.port)) as cell,
    ):
        argv = [sys.executable, "-I", "-S", "-c", ATTEMPTS, str(index.port), str(other.port)]
        finished = run(cell, argv, environment={}, limits=ToolLimits(), checkpoint=lambda: None)

    reached = json.loads(finished.stdout)
    datagram = reached.pop(2)
    assert reached == [isolation is Isolation.BASIC, False, False, False]
    assert not (datagram and isolation is Isolation.BASIC)
