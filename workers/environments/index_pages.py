"""Reads the pages of a package index (PEP 503 HTML, PEP 691 JSON) and writes them anew with other addresses."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urldefrag, urljoin, urlsplit

from orchestrator.models.errors import InvalidStepInput
from workers.sandbox.limited import MEBIBYTE, CallLimits, limited

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
JSON_PAGE = "application/vnd.pypi.simple.v1+json"
MAX_PAGE_BYTES = 32 * MEBIBYTE
MAX_FILES = 50_000
_LIMITS = CallLimits(memory_bytes=512 * MEBIBYTE, cpu_seconds=30, answer_bytes=MAX_PAGE_BYTES)
_WHEEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,250}\.whl")
_HASH = re.compile(r"(sha256|sha384|sha512)[=:]([0-9a-f]{64,128})")


@dataclass(frozen=True)
class IndexFile:
    """A wheel that a page lists; `url` is absolute. `metadata`: its metadata is served beside it (PEP 658)."""

    filename: str
    url: str
    hashes: Mapping[str, str]
    requires_python: str | None
    yanked: bool
    metadata: bool


def read_page(content: bytes, media_type: str, *, url: str) -> list[IndexFile]:
    """Return the wheels that the page at `url` lists; raises InvalidStepInput for a page that can't be read."""
    read = limited(parse_page, "a page of the package index", limits=_LIMITS)
    return [IndexFile(**file) for file in read(content, media_type, url)]


def parse_page(content: bytes, media_type: str, url: str) -> list[dict[str, Any]]:
    """Return IndexFiles as dicts; call it through `limited`."""
    try:
        listed = _of_json(content) if "json" in media_type else _of_html(content)
        files = [file for entry in listed if (file := _file(entry, url)) is not None]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as fault:
        raise InvalidStepInput("a page of the package index can't be read") from fault
    return [asdict(file) for file in files[:MAX_FILES]]


def write_page(name: str, files: Sequence[IndexFile], address_of: Callable[[IndexFile], str]) -> bytes:
    """Return a JSON page (PEP 691) of these files at other addresses."""
    listed = [
        {
            "filename": file.filename,
            "url": address_of(file),
            "hashes": dict(file.hashes),
            "yanked": file.yanked,
            "core-metadata": file.metadata,
            **({"requires-python": file.requires_python} if file.requires_python else {}),
        }
        for file in files
    ]
    return json.dumps({"meta": {"api-version": "1.0"}, "name": name, "files": listed}).encode()


def _file(entry: Mapping[str, Any], page: str) -> IndexFile | None:
    """Return a file if it is a wheel, and at an address that is as safe as the page's."""
    url, fragment = urldefrag(urljoin(page, entry["url"]))
    parts = urlsplit(url)
    wanted = ("https",) if urlsplit(page).scheme == "https" else ("http", "https")
    if parts.scheme not in wanted or not parts.hostname or "@" in parts.netloc:
        return None
    if not _WHEEL.fullmatch(entry["filename"]):
        return None
    found = [f"{kind}={digest}" for kind, digest in (entry.get("hashes") or {}).items()]
    hashes = {match[1]: match[2] for text in (fragment, *found) if (match := _HASH.fullmatch(text))}
    return IndexFile(
        entry["filename"],
        url,
        hashes,
        entry.get("requires-python") or None,
        bool(entry.get("yanked")) or entry.get("yanked") == "",
        bool(entry.get("core-metadata") or entry.get("dist-info-metadata")),
    )


def _of_json(content: bytes) -> list[Mapping[str, Any]]:
    listed: list[Mapping[str, Any]] = [
        {**file, "yanked": file.get("yanked") or False} for file in json.loads(content)["files"]
    ]
    return listed


def _of_html(content: bytes) -> Iterator[Mapping[str, Any]]:
    parser = _Anchors()
    parser.feed(content.decode("utf-8", "replace"))
    parser.close()
    yield from parser.found


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, Any]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        href = given.get("href")
        if tag != "a" or not href:
            return
        metadata = given.get("data-core-metadata", given.get("data-dist-info-metadata", "false"))
        self.found.append(
            {
                "url": href,
                "filename": urlsplit(href).path.rpartition("/")[2].replace("%2B", "+").replace("%2b", "+"),
                "requires-python": given.get("data-requires-python"),
                "yanked": "data-yanked" in given,
                "core-metadata": metadata != "false",
            }
        )
