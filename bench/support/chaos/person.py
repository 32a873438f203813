"""A person who decides what is asked: about a step, by its question, and about an unknown effect by looking outside."""

import threading
import time
import urllib.error
from collections import Counter
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any, Final, Self

from bench.support.chaos.graphs import REFUSE
from tests.acceptance.client import Client
from tests.ledger import Ledger

_AWAY: Final = (urllib.error.URLError, HTTPException, OSError)
_PAUSE_SECONDS: Final = 0.3


class Person:
    """Decides over the API of one stack. A context manager: inside the block it decides in a thread of its own.

    An effect whose idempotency key is in the ledger is accepted; one that is not there for `patience_seconds` may run
    again. Nobody who is alive may write later than that.
    """

    def __init__(self, client: Client, ledger: Ledger, *, patience_seconds: float) -> None:
        self.decisions: Counter[str] = Counter()
        self.failure: BaseException | None = None
        self._client = client
        self._ledger = ledger
        self._patience_seconds = patience_seconds
        self._seen_at: dict[str, float] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos-person", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def attend(self) -> None:
        """Decide what is asked now, as far as it can be decided."""
        asked = self.call("GET", "/v1/approvals?state=pending&limit=100")
        for question in (asked or {}).get("approvals", ()):
            chosen = self._choose(question)
            if chosen is not None:
                self._decide(question, chosen)

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> dict[str, Any] | None:
        """Return the answer's body; None if there was none, somebody was faster, or the server can't answer now."""
        try:
            answer = self._client.call(method, path, body, **more)
        except _AWAY:
            return None
        if answer.status >= 500 or answer.status in (409, 429):
            return None
        assert answer.status < 300, answer
        return dict(answer.body)

    def _run(self) -> None:
        try:
            while not self._stopped.wait(_PAUSE_SECONDS):
                self.attend()
        except BaseException as error:
            self.failure = error

    def _choose(self, question: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the members of the decision; None to wait."""
        if question["kind"] == "question":
            return {"decision": "answer", "answer": {"values": [question["proposal"]["inputs"]["context"]]}}
        if question["kind"] != "outcome":
            return {"decision": "reject" if question["ask"] == REFUSE else "approve"}
        key = question["proposal"]["effect"]["idempotency_key"]
        if any(line.key == key for line in self._ledger.lines()):
            return {"decision": "accept", "answer": {"summary": "appended a line", "key": key}}
        seen_at = self._seen_at.setdefault(question["approval_id"], time.monotonic())
        return {"decision": "run_again"} if time.monotonic() - seen_at > self._patience_seconds else None

    def _decide(self, question: Mapping[str, Any], chosen: Mapping[str, Any]) -> None:
        body = {"proposal_hash": question["proposal_hash"], **chosen}
        path = f"/v1/approvals/{question['approval_id']}/decision"
        if self.call("POST", path, body) is not None:
            self.decisions[chosen["decision"]] += 1
