"""A minimal WebSocket client for tests: it answers pings, and reads only when a test asks for a message."""

import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Message,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.utilities import RemoteProtocolError


class Rejected(Exception):
    """The server answered the handshake with an ordinary HTTP response."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        super().__init__(status, body[:500])
        self.status = status
        self.headers = headers
        self.body = body


class Cut(Exception):
    """The connection ended without a close frame."""


@dataclass
class WebSocket:
    """One connection; `close_code` is set after the server has closed it."""

    link: socket.socket
    protocol: WSConnection
    subprotocol: str | None = None
    close_code: int | None = None
    close_reason: str | None = None
    pings: int = 0
    _texts: list[str] = field(default_factory=list)
    _part: str = ""

    @classmethod
    def open(
        cls,
        url: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        subprotocols: list[str] | None = None,
        receive_buffer: int | None = None,
        timeout: float = 30,
    ) -> Self:
        """Connect and upgrade. Raises Rejected, Cut, or OSError."""
        where = urlsplit(url)
        link = socket.socket()
        if receive_buffer:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        link.settimeout(timeout)
        try:
            link.connect((where.hostname, where.port))
            return cls._upgraded(link, where.netloc, path, dict(headers or {}), subprotocols or [])
        except BaseException:
            link.close()
            raise

    @classmethod
    def _upgraded(
        cls, link: socket.socket, host: str, path: str, headers: dict[str, str], subprotocols: list[str]
    ) -> Self:
        protocol = WSConnection(ConnectionType.CLIENT)
        extra = [(name.encode(), text.encode()) for name, text in headers.items()]
        link.sendall(
            protocol.send(Request(host=host, target=path, extra_headers=extra, subprotocols=subprotocols))
        )
        opened, refused, body = cls(link, protocol), None, b""
        while True:
            content = link.recv(65536)
            try:
                protocol.receive_data(content or None)
            except RemoteProtocolError as error:
                raise Cut from error
            for event in protocol.events():
                match event:
                    case AcceptConnection():
                        opened.subprotocol = event.subprotocol
                        opened._note(list(protocol.events()))
                        return opened
                    case RejectConnection():
                        refused = event
                    case RejectData():
                        body += event.data
                if refused and (not refused.has_body or getattr(event, "body_finished", False)):
                    names = {name.decode().lower(): text.decode() for name, text in refused.headers}
                    raise Rejected(refused.status_code, names, body)
            if not content:
                raise Cut

    def say(self, message: Any) -> None:
        """Send a message: text as it is, anything else as JSON."""
        text = message if isinstance(message, str) else json.dumps(message)
        self.link.sendall(self.protocol.send(TextMessage(data=text)))

    def ping(self) -> None:
        """Send a ping frame."""
        self.link.sendall(self.protocol.send(Ping(b"are you there")))

    def next(self, *, timeout: float = 30) -> Any:
        """Return the next message, decoded; None after the server has closed. Raises Cut or TimeoutError."""
        give_up = time.monotonic() + timeout
        while not self._texts:
            if self.close_code is not None:
                return None
            self.link.settimeout(max(give_up - time.monotonic(), 0.001))
            content = self.link.recv(65536)
            if not content:
                raise Cut
            self.protocol.receive_data(content)
            self._note(list(self.protocol.events()))
        return json.loads(self._texts.pop(0))

    def rest(self, *, timeout: float = 30) -> list[Any]:
        """Return all messages up to the close."""
        give_up = time.monotonic() + timeout
        messages = []
        while (message := self.next(timeout=give_up - time.monotonic())) is not None:
            messages.append(message)
        return messages

    def close(self) -> None:
        """Drop the connection."""
        self.link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _note(self, events: list[Any]) -> None:
        for event in events:
            match event:
                case Message():
                    self._part += event.data
                    if event.message_finished:
                        self._texts.append(self._part)
                        self._part = ""
                case Ping():
                    self.pings += 1
                    self.link.sendall(self.protocol.send(event.response()))
                case CloseConnection():
                    self.close_code, self.close_reason = int(event.code), event.reason
                    self.link.sendall(self.protocol.send(event.response()))
