"""Reads MCP's JSON-RPC messages and checks them against their HTTP headers; builds answers and errors.

Reads two kinds of versions, both without sessions: 2026-07-28, in which each request has its version in `_meta` and
repeats method and name in headers, and the versions before it, which begin with `initialize`.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Response, jsonify, request

from api.middleware import body
from api.middleware.problem import MalformedBody
from orchestrator.models.errors import InvalidInput

MODERN = "2026-07-28"
HANDSHAKE = ("2025-11-25", "2025-06-18")
"""The versions with `initialize`, the newest first."""
PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
HEADER_MISMATCH, UNSUPPORTED_VERSION = -32020, -32022
_HTTP_STATUS = {METHOD_NOT_FOUND: 404}
_META = "io.modelcontextprotocol/"
_VERSION, _CAPABILITIES = _META + "protocolVersion", _META + "clientCapabilities"
# method -> the member of its params that Mcp-Name repeats
_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_BASE64_HEAD, _BASE64_TAIL = "=?base64?", "?="


class Rejected(Exception):
    """A message that gets a JSON-RPC error with this code."""

    def __init__(
        self, code: int, message: str, *, message_id: str | int | None = None, data: Any = None
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.message_id, self.data = code, message, message_id, data

    def response(self) -> Response:
        """Return the error as JSON, with the HTTP status that belongs to it."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.data is not None:
            error["data"] = self.data
        response = jsonify(jsonrpc="2.0", id=self.message_id, error=error)
        response.status_code = _HTTP_STATUS.get(self.code, 400)
        return response


@dataclass(frozen=True)
class Message:
    """A request, or with `id` None a notification; `is_modern`: of 2026-07-28."""

    method: str
    params: Mapping[str, Any]
    id: str | int | None
    is_modern: bool

    def reject(self, code: int, message: str, *, data: Any = None) -> Rejected:
        """Return the error that answers this message."""
        return Rejected(code, message, message_id=self.id, data=data)

    def answer(self, result: Mapping[str, Any]) -> Response:
        """Return the answer with this result."""
        extra = {"resultType": "complete"} if self.is_modern else {}
        return jsonify(jsonrpc="2.0", id=self.id, result={**result, **extra})


def read_message() -> Message:
    """Return the request's message. Raises Rejected for anything but one valid message (a batch is none).

    Raises what `body.read_value` does for a body that is too large or has another media type.
    """
    try:
        value = body.read_value()
    except MalformedBody as error:
        raise Rejected(PARSE_ERROR, error.message) from error
    except InvalidInput as error:
        raise Rejected(INVALID_REQUEST, error.message) from error
    if not isinstance(value, dict):
        raise Rejected(INVALID_REQUEST, "The body must be one JSON-RPC message; batches are not accepted.")
    message_id, method, params = value.get("id"), value.get("method"), value.get("params", {})
    is_id = isinstance(message_id, str | int) and not isinstance(message_id, bool)
    known_id = message_id if is_id else None
    if value.get("jsonrpc") != "2.0" or not isinstance(method, str) or not isinstance(params, dict):
        raise Rejected(INVALID_REQUEST, "Not a JSON-RPC 2.0 request or notification.", message_id=known_id)
    if "id" in value and not is_id:
        raise Rejected(INVALID_REQUEST, "The id of a request must be a string or an integer.")
    meta = params.get("_meta")
    header = request.headers.get("MCP-Protocol-Version")
    is_modern = header == MODERN or (isinstance(meta, dict) and _VERSION in meta)
    message = Message(method, params, known_id, is_modern)
    if is_modern:
        _check_envelope(message, meta, header)
    elif header is not None and header not in HANDSHAKE and method != "initialize":
        raise _unsupported(message, header)
    return message


def _unsupported(message: Message, version: str) -> Rejected:
    supported = [MODERN, *HANDSHAKE]
    return message.reject(
        UNSUPPORTED_VERSION,
        f"Unsupported protocol version; supported: {', '.join(supported)}.",
        data={"supported": supported, "requested": version[:64]},
    )


def _check_envelope(message: Message, meta: Any, header: str | None) -> None:
    """Check what a request of 2026-07-28 says twice: in `_meta` and params, and in its headers."""
    if message.id is None:
        return
    missing = [name for name in (_VERSION, _CAPABILITIES) if not isinstance(meta, dict) or name not in meta]
    if missing:
        raise message.reject(INVALID_PARAMS, f"params._meta lacks {', '.join(missing)}.")
    for name in ("MCP-Protocol-Version", "Mcp-Method", "Mcp-Name"):
        if len(request.headers.getlist(name)) > 1:
            raise message.reject(HEADER_MISMATCH, f"The header {name} occurs more than once.")
    version = meta[_VERSION]
    if header != version:
        raise message.reject(
            HEADER_MISMATCH, "MCP-Protocol-Version differs from the version in params._meta."
        )
    if request.headers.get("Mcp-Method") != message.method:
        raise message.reject(HEADER_MISMATCH, "Mcp-Method differs from the message's method.")
    named = message.params.get(_NAMED.get(message.method, ""))
    if named is not None and _decoded(request.headers.get("Mcp-Name")) != named:
        raise message.reject(HEADER_MISMATCH, "Mcp-Name differs from the name in the message's params.")
    if version != MODERN:
        raise _unsupported(message, str(version))


def _decoded(header: str | None) -> str | None:
    """Return a header's value; of one in the form =?base64?...?= what is encoded, None if that is malformed."""
    if header is None or not (header.startswith(_BASE64_HEAD) and header.endswith(_BASE64_TAIL)):
        return header
    try:
        return base64.b64decode(header[len(_BASE64_HEAD) : -len(_BASE64_TAIL)], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
