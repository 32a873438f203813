"""Clients that follow a task's stream and reconnect after every interruption."""

import random
import socket
import threading
import time
from collections import Counter
from typing import Any

from tests.acceptance.client import Client
from tests.ws import Cut, Rejected, WebSocket

_FINAL = ("task.completed", "task.failed", "task.cancelled")


class Listener(threading.Thread):
    """One client of one task's WebSocket; it also disconnects at random and reconnects.

    `seqs` are the numbers it was told, in order, `last_type` the type of the last event; `ends` counts how
    its connections ended: close codes, "cut", "left", "refused".
    """

    def __init__(self, client: Client, task_id: str, *, chance: random.Random, give_up_at: float) -> None:
        super().__init__(daemon=True)
        self.task_id = task_id
        self.seqs: list[int] = []
        self.last_type = ""
        self.ends: Counter[int | str] = Counter()
        self._client = client
        self._chance = chance
        self._give_up_at = give_up_at

    def run(self) -> None:
        """Receive events until the last one or the time limit."""
        while self.last_type not in _FINAL and time.monotonic() < self._give_up_at:
            self.ends[self._listen_once()] += 1
            self._pause()

    def _listen_once(self) -> int | str:
        after = self.seqs[-1] if self.seqs else 0
        leave_at = time.monotonic() + self._chance.uniform(0.5, 12)
        try:
            with WebSocket.open(
                self._client.url,
                f"/v1/tasks/{self.task_id}/stream?after={after}",
                headers={"Authorization": f"Bearer {self._client.token}"},
                timeout=15,
            ) as stream:
                while (message := stream.next(timeout=max(leave_at - time.monotonic(), 0.01))) is not None:
                    self._note(message)
                return stream.close_code or 0
        except TimeoutError:
            return "left"
        except Rejected:
            return "refused"
        except (Cut, OSError):
            return "cut"

    def _note(self, message: dict[str, Any]) -> None:
        self.seqs.append(message["seq"])
        self.last_type = message["type"]

    def _pause(self) -> None:
        threading.Event().wait(self._chance.uniform(0.05, 0.4))


def is_open(client: Client) -> bool:
    """Return whether the API accepts connections."""
    host, _, port = client.url.removeprefix("http://").partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True
