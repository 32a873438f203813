"""Reads what an HTTP arm answers: bounded, strict, and never trusted to name our own errors."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from orchestrator.models.arm_errors import ArmFailed, ArmFailedForNow, ArmUnavailable
from orchestrator.models.errors import NeedsReplan, OutcomeUnknown, StepError
from orchestrator.rules import strict_json

MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024
MAX_MESSAGE_CHARACTERS: Final = 1_000
MAX_WARNINGS: Final = 20
LONGEST_RETRY_AFTER_SECONDS: Final = 3600.0
_CODE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_SECONDS: Final = re.compile(r"\d{1,9}(\.\d{1,6})?")
# without the contract's envelope: what may be tried again
_TRANSIENT: Final = frozenset((408, 425, 429, 500, 502, 503, 504))
# of these nothing was done, by their definition
_NOT_BEGUN: Final = frozenset((425, 429))


class _Headers(Protocol):
    def get(self, name: str) -> str | None: ...


@dataclass(frozen=True)
class ArmError:
    """An error: `code` is the arm's own (None: the arm sent none), `retryable` what it says of another try."""

    code: str | None
    message: str
    retryable: bool


@dataclass(frozen=True)
class Answer:
    """An arm's answer: a `result`, an `error`, or a `fault` that says how a success breaks the contract."""

    status: int
    result: dict[str, Any] | None = None
    error: ArmError | None = None
    fault: str | None = None
    warnings: tuple[str, ...] = ()
    retry_after: float | None = None

    @property
    def shows_life(self) -> bool:
        """Return whether the arm itself answered, well or badly, rather than a server error."""
        return self.error is None or self.error.code is not None or self.status < 500

    def error_for(self, arm_id: str, *, runs_once: bool) -> StepError:
        """Return the step's error; OutcomeUnknown for an action that runs once, when the arm may have done it."""
        if self.error is None:
            raise LookupError("the answer has no error")
        error = self.error
        details: dict[str, Any] = {"http_status": self.status}
        if self.retry_after is not None:
            details["retry_after"] = self.retry_after
        if error.code is None:
            message = f"The arm {arm_id} answered {self.status}{error.message}."
            is_refusal = self.status < 500 and self.status != 408
            if runs_once and not is_refusal and self.status not in _NOT_BEGUN:
                return OutcomeUnknown(f"{message} It may have acted or not.", details=details)
            return (ArmUnavailable if error.retryable else ArmFailed)(message, details=details)
        details["arm_code"] = error.code
        message = f"The arm {arm_id} failed ({error.code}): {error.message}"
        if error.code == OutcomeUnknown.code:
            return OutcomeUnknown(message, details=details)
        if error.code == NeedsReplan.code:
            return NeedsReplan(message, details=details)
        return (ArmFailedForNow if error.retryable else ArmFailed)(message, details=details)


def read_answer(status: int, headers: _Headers, content: bytes | None) -> Answer:
    """Return the answer in a response; `content` is None when it is longer than MAX_ANSWER_BYTES."""
    retry_after = _seconds(headers.get("Retry-After"))
    members, fault = _members(content)
    if members.get("success") is False and isinstance(members.get("error"), dict):
        return _failed(status, members["error"], retry_after)
    if not 200 <= status < 300:
        note = ", a redirect, which is not followed" if 300 <= status < 400 else ""
        error = ArmError(None, note, status in _TRANSIENT)
        return Answer(status, error=error, retry_after=retry_after)
    if fault is None and members.get("success") is not True:
        fault = 'it has no "success": true or false'
    if fault is None and not isinstance(members.get("result"), dict):
        fault = 'its "result" is not an object'
    if fault is not None:
        return Answer(status, fault=fault)
    return Answer(status, result=members["result"], warnings=_warnings(members.get("warnings")))


def _members(content: bytes | None) -> tuple[dict[str, Any], str | None]:
    """Return the members of the body, and what is wrong with it."""
    if content is None:
        return {}, f"the answer is longer than {MAX_ANSWER_BYTES:,} bytes"
    try:
        value = strict_json.decode(content)
    except strict_json.MalformedJson as error:
        return {}, f"the answer {error}"
    except strict_json.UnstorableText:
        return {}, "the answer has NUL characters or lone surrogates"
    return (value, None) if isinstance(value, dict) else ({}, "the answer is not a JSON object")


def _failed(status: int, error: Mapping[str, Any], retry_after: float | None) -> Answer:
    code, message, retryable = error.get("code"), error.get("message"), error.get("retryable")
    shown = message if isinstance(message, str) and message.strip() else "it gave no message"
    own_pause = error.get("retry_after_seconds")
    if isinstance(own_pause, int | float) and not isinstance(own_pause, bool) and own_pause >= 0:
        retry_after = max(retry_after or 0.0, min(float(own_pause), LONGEST_RETRY_AFTER_SECONDS))
    is_code = isinstance(code, str) and _CODE.fullmatch(code.lower())
    return Answer(
        status,
        error=ArmError(
            str(code).lower() if is_code else "no_code",
            _cut(shown),
            retryable if isinstance(retryable, bool) else status in _TRANSIENT,
        ),
        retry_after=retry_after,
    )


def _seconds(text: str | None) -> float | None:
    """Return the seconds of a Retry-After header; None for a date, whose clock is not ours."""
    if text is None or not _SECONDS.fullmatch(text.strip()):
        return None
    return min(float(text), LONGEST_RETRY_AFTER_SECONDS)


def _warnings(given: Any) -> tuple[str, ...]:
    texts = [text for text in given if isinstance(text, str)] if isinstance(given, list) else []
    return tuple(map(_cut, texts[:MAX_WARNINGS]))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE_CHARACTERS else text[: MAX_MESSAGE_CHARACTERS - 1] + "…"
