"""A package index on loopback: pages as PEP 503 has them, and wheels that are made on the spot."""

import hashlib
import io
import os
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from workers.sandbox.readable_files import DISTRIBUTIONS

USER, PASSWORD = "reader", "s3cret-of-the-index"


def wheel(name: str, version: str, *, needs: tuple[str, ...] = (), **modules: str) -> tuple[str, bytes]:
    """Return the file name and bytes of a wheel with these modules (source by name)."""
    about = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"]
    about += [f"Requires-Dist: {requirement}\n" for requirement in needs]
    place = f"{name}-{version}.dist-info"
    files = {f"{module}.py": source for module, source in modules.items()}
    files[f"{place}/METADATA"] = "".join(about)
    return f"{name}-{version}-py3-none-any.whl", _zipped(
        place, {key: text.encode() for key, text in files.items()}
    )


def installed(name: str) -> tuple[str, bytes]:
    """Return a wheel of a distribution that is installed here."""
    found = distribution(name)
    files = {
        str(path): Path(str(path.locate())).read_bytes()
        for path in found.files or ()
        if ".." not in path.parts
        and path.suffix != ".pyc"
        and path.name not in ("RECORD", "WHEEL", "INSTALLER")
    }
    place = next(
        part for part in {path.parts[0] for path in found.files or ()} if part.endswith(".dist-info")
    )
    filename = f"{place.removesuffix('.dist-info')}-py3-none-any.whl"
    return filename, _zipped(place, files)


def _zipped(place: str, files: Mapping[str, bytes]) -> bytes:
    files = {
        **files,
        f"{place}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in (*files, f"{place}/RECORD"))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr(f"{place}/RECORD", record)
    return content.getvalue()


@dataclass
class LocalIndex:
    """The index: its URL with credentials, its wheels, the paths that it was asked for, and whether it answers."""

    port: int = 0
    wheels: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    refused: int = 0
    is_away: bool = False
    delay_seconds: float = 0.0
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Return the URL as an operator sets it."""
        return f"http://{USER}:{PASSWORD}@127.0.0.1:{self.port}/simple"

    def add(self, filename: str, content: bytes) -> None:
        """Publish a wheel."""
        self.wheels[filename] = content

    def page(self, name: str) -> str | None:
        """Return the page of a project, None when there is none."""
        files = {
            filename: content
            for filename, content in self.wheels.items()
            if filename.split("-")[0].lower().replace("_", "-") == name
        }
        links = [
            f'<a href="../../files/{filename}#sha256={hashlib.sha256(content).hexdigest()}">{filename}</a>'
            for filename, content in files.items()
        ]
        return f"<!DOCTYPE html><html><body>{'<br>'.join(links)}</body></html>" if files else None


@contextmanager
def serving(*, with_tools: bool = True) -> Iterator[LocalIndex]:
    """Serve an index until the block ends; `with_tools`: it has pytest, coverage and what they need."""
    index = LocalIndex()
    for name in DISTRIBUTIONS if with_tools else ():
        index.add(*installed(name))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(index))
    index.port = int(server.socket.getsockname()[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield index
    finally:
        index.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _handler_of(index: LocalIndex) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index.asked.append(self.path)
            index.ended.wait(index.delay_seconds)
            if index.is_away:
                self._send(503, b"")
            elif not self.headers.get("Authorization", "").startswith("Basic "):
                index.refused += 1
                self._send(401, b"")
            else:
                self._serve([part for part in self.path.split("/") if part])

        do_HEAD = do_GET  # noqa: N815 - http.server's name

        def _serve(self, parts: list[str]) -> None:
            kind, name = parts if len(parts) == 2 else ("", "")
            page = index.page(name) if kind == "simple" else None
            content = index.wheels.get(name) if kind == "files" else page.encode() if page else None
            if content is None:
                self._send(404, b"")
            else:
                self._send(200, content)

        def _send(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header(
                "Content-Type", "text/html" if self.path.startswith("/simple") else "application/zip"
            )
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                # uv closes a connection when it knows enough
                with suppress(ConnectionError):
                    self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
            """Log nothing."""

    return Handler


def registry() -> str:
    """Return the package index of this machine, as pip has it; PyPI where pip has no other."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    named = re.search(r"index-url='([^']+)'", re.sub(r"extra-index-url='[^']*'", "", listed))
    return os.environ.get("PIP_INDEX_URL") or (named[1] if named else "https://pypi.org/simple")
