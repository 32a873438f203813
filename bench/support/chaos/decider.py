"""People who decide during chaos: several look at the same list and decide the same approvals at the same time."""

import random
import threading
import urllib.error
from http.client import HTTPException
from typing import Any, Final

from bench.support.chaos.graphs import REFUSE
from tests.acceptance.client import Client

_AWAY: Final = (urllib.error.URLError, HTTPException, OSError)
# decided, decided by another one or expired, rate limited or away
_EXPECTED: Final = {200, 404, 409, 429, 500, 502, 503, 504}


class Decider(threading.Thread):
    """Decides what is pending until `stop`: refuses what asks to be refused, answers a question with its context."""

    def __init__(self, client: Client, chance: random.Random) -> None:
        super().__init__(name="chaos-decider", daemon=True)
        self.failure: BaseException | None = None
        self._client = client
        self._chance = chance
        self._stopped = threading.Event()

    def run(self) -> None:
        """Decide until stopped; store an unexpected error in `failure`."""
        try:
            while not self._stopped.wait(self._chance.uniform(0.1, 0.5)):
                self._decide_all()
        except BaseException as error:
            self.failure = error

    def stop(self) -> None:
        """Stop deciding; raise the stored error, if any."""
        self._stopped.set()
        self.join()
        if self.failure is not None:
            raise self.failure

    def _decide_all(self) -> None:
        listed = self._call("GET", "/v1/approvals?state=pending&limit=100", None)
        for approval in listed.body["approvals"] if listed is not None and listed.status == 200 else ():
            path = f"/v1/approvals/{approval['approval_id']}/decision"
            answer = self._call("POST", path, _choice(approval))
            if answer is not None and answer.status not in _EXPECTED:
                raise AssertionError(f"the API refuses a decision: {answer}")

    def _call(self, method: str, path: str, body: Any) -> Any:
        try:
            return self._client.call(method, path, body)
        except _AWAY:
            return None


def _choice(approval: dict[str, Any]) -> dict[str, Any]:
    choice: dict[str, Any] = {"proposal_hash": approval["proposal_hash"]}
    if approval["kind"] == "question":
        return {
            **choice,
            "decision": "answer",
            "answer": {"values": [approval["proposal"]["inputs"]["context"]]},
        }
    return {**choice, "decision": "reject" if approval["ask"] == REFUSE else "approve"}
