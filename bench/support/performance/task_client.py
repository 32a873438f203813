"""A client of the API that submits whole tasks and waits for each by long polls; bench/task.py runs it as a driver.

python -m bench.support.performance.task_client PORT TOKEN
"""

import http.client
import json
import sys
import threading
import time
from datetime import datetime
from itertools import count
from typing import Any, Final

from bench.support.performance import driver, plans

_WAIT_SECONDS: Final = 30
_FINAL: Final = frozenset({"completed", "failed", "cancelled"})


class TaskClient:
    """Runs tasks; each thread keeps one connection."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._numbers = count(time.time_ns())
        self._kept = threading.local()

    def run(self, plan: str) -> tuple[float, float]:
        """Run a task to its end; return the milliseconds here and from its row's creation to its end."""
        number = next(self._numbers)
        contract = {"goal": f"Collect {number}", "plan": {"steps": plans.steps_of(plan, number)}}
        began = time.monotonic()
        task_id = self._call("POST", "/v1/tasks", contract)["task_id"]
        while (status := self._call("GET", f"/v1/tasks/{task_id}?wait={_WAIT_SECONDS}"))[
            "status"
        ] not in _FINAL:
            pass
        elapsed = 1000 * (time.monotonic() - began)
        if status["status"] != "completed":
            raise RuntimeError(f"task {task_id} of the plan {plan} ended as {status}")
        return elapsed, 1000 * _seconds(status)

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        connection = self._connection()
        connection.request(method, path, None if body is None else json.dumps(body), self._headers)
        reply = connection.getresponse()
        content = reply.read()
        if reply.status not in (200, 202):
            raise RuntimeError(f"{method} {path} answered {reply.status}: {content[:500]!r}")
        return json.loads(content)

    def _connection(self) -> http.client.HTTPConnection:
        if not hasattr(self._kept, "connection"):
            self._kept.connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=90)
        kept: http.client.HTTPConnection = self._kept.connection
        return kept


def _seconds(status: dict[str, Any]) -> float:
    made, ended = (datetime.fromisoformat(status[name]) for name in ("created_at", "completed_at"))
    return (ended - made).total_seconds()


if __name__ == "__main__":
    driver.serve(TaskClient(int(sys.argv[1]), sys.argv[2]).run)
