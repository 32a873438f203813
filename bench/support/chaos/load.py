"""A client that keeps tasks running during chaos and records what the API accepted."""

import random
import threading
import time
import urllib.error
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, Final

from bench.support.chaos import graphs
from bench.support.chaos.graphs import Wanted
from tests.acceptance.client import Client

_AWAY: Final = (urllib.error.URLError, HTTPException, OSError)
_RETRY_SECONDS: Final = 0.3


@dataclass(frozen=True)
class Accepted:
    """A task that the API accepted with 202."""

    task_id: str
    wanted: Wanted


class Load(threading.Thread):
    """Keeps at most `most` tasks open until `stop`. A submission is repeated, with its key, until it is answered.

    `count_open` says how many tasks have not ended.
    """

    def __init__(
        self,
        client: Client,
        chance: random.Random,
        *,
        count_open: Callable[[], int],
        most: int,
        longest_wait_seconds: float,
    ) -> None:
        super().__init__(name="chaos-load", daemon=True)
        self.accepted: list[Accepted] = []
        self.cancels: list[threading.Timer] = []
        self.failure: BaseException | None = None
        self._client = client
        self._chance = chance
        self._count_open = count_open
        self._most = most
        self._longest_wait_seconds = longest_wait_seconds
        self._script = client.upload(graphs.SCRIPT, filename=graphs.SCRIPT_NAME)
        self._stopped = threading.Event()

    def run(self) -> None:
        """Submit until stopped; store an unexpected error in `failure`."""
        try:
            while not self._stopped.is_set():
                if self._count_open() < self._most:
                    self.submit(self._draw())
                else:
                    self._stopped.wait(0.1)
        except BaseException as error:
            self.failure = error

    def submit(self, wanted: Wanted) -> Accepted:
        """Submit one task, with retries until it is accepted."""
        key = f"chaos-{self._chance.getrandbits(64):016x}"
        while True:
            answer = self._call("POST", "/v1/tasks", dict(wanted.contract), headers={"Idempotency-Key": key})
            if answer is not None:
                break
            time.sleep(_RETRY_SECONDS)
        if answer.status not in {200, 202}:
            raise AssertionError(f"the API refuses a task of kind {wanted.kind}: {answer}")
        accepted = Accepted(answer.body["task_id"], wanted)
        self.accepted.append(accepted)
        if wanted.cancel_after_seconds is not None:
            timer = threading.Timer(wanted.cancel_after_seconds, self._cancel, args=(accepted.task_id,))
            timer.daemon = True
            timer.start()
            self.cancels.append(timer)
        return accepted

    def stop(self) -> None:
        """Stop submitting; raise the stored error, if any."""
        self._stopped.set()
        self.join()
        for timer in self.cancels:
            timer.join()
        if self.failure is not None:
            raise self.failure

    def _draw(self) -> Wanted:
        return graphs.draw(self._chance, script=self._script, longest_wait_seconds=self._longest_wait_seconds)

    def _cancel(self, task_id: str) -> None:
        """Try once; if the request fails, the task is expected to complete."""
        self._call("POST", f"/v1/tasks/{task_id}/cancel", None)

    def _call(self, method: str, path: str, body: Any, **more: Any) -> Any:
        """Return the answer; None if there was none or it asks to retry."""
        try:
            answer = self._client.call(method, path, body, **more)
        except _AWAY:
            return None
        return None if answer.status >= 500 or answer.status == 429 else answer
