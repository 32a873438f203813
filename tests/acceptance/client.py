"""A client of the HTTP API, as an application would write it."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.waiting import wait_until

FINAL = frozenset({"completed", "failed", "cancelled"})


@dataclass(frozen=True)
class Answer:
    """A response of the API."""

    status: int
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Client:
    """Calls one API as one tenant."""

    url: str
    token: str

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request; return error responses like any other."""
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data=content, method=method, headers=dict(headers or {})
        )
        request.add_header("Authorization", f"Bearer {self.token}")
        if content is not None:
            request.add_header("Content-Type", content_type)
        for name, text in (headers or {}).items():
            request.add_header(name, text)
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return Answer(reply.status, dict(reply.headers), _decoded(reply.read()))
        except urllib.error.HTTPError as error:
            return Answer(error.code, dict(error.headers), _decoded(error.read()))

    def submit(self, goal: str = "do it", **contract: Any) -> str:
        """Submit a task and return its id."""
        answer = self.call("POST", "/v1/tasks", {"goal": goal, **contract})
        assert answer.status == 202, answer
        return str(answer.body["task_id"])

    def task(self, task_id: str) -> dict[str, Any]:
        """Return the task's status."""
        answer = self.call("GET", f"/v1/tasks/{task_id}")
        assert answer.status == 200, answer
        return dict(answer.body)

    def end_of(self, task_id: str, *, timeout: float = 60) -> dict[str, Any]:
        """Wait for the task's end and return its status."""
        wait_until(lambda: self.task(task_id)["status"] in FINAL, timeout, f"the end of {task_id}", every=0.1)
        return self.task(task_id)

    def run(self, goal: str = "do it", *, timeout: float = 60, **contract: Any) -> dict[str, Any]:
        """Submit a task, wait for its end, return its status."""
        return self.end_of(self.submit(goal, **contract), timeout=timeout)

    def events(self, task_id: str) -> list[dict[str, Any]]:
        """Return all events of the task."""
        answer = self.call("GET", f"/v1/tasks/{task_id}/events?after=0&limit=1000")
        assert answer.status == 200, answer
        return list(answer.body["events"])

    def trace(self, task_id: str) -> list[dict[str, Any]]:
        """Return all decisions of the task."""
        answer = self.call("GET", f"/v1/tasks/{task_id}/trace?limit=1000")
        assert answer.status == 200, answer
        return list(answer.body["decisions"])

    def questions(self, task_id: str) -> list[dict[str, Any]]:
        """Return the task's pending approvals."""
        answer = self.call("GET", f"/v1/approvals?task_id={task_id}&state=pending")
        assert answer.status == 200, answer
        return list(answer.body["approvals"])

    def decide(self, question: Mapping[str, Any], decision: str, **more: Any) -> None:
        """Decide a pending approval, as a person does."""
        chosen = {"decision": decision, "proposal_hash": question["proposal_hash"], **more}
        answer = self.call("POST", f"/v1/approvals/{question['approval_id']}/decision", chosen)
        assert answer.status == 200, answer

    def upload(self, content: bytes, *, filename: str) -> str:
        """Store a file and return its artifact id."""
        answer = self.call(
            "POST", f"/v1/files?filename={filename}", content, content_type="application/octet-stream"
        )
        assert answer.status in (200, 201), answer
        return str(answer.body["artifact_id"])


def _decoded(content: bytes) -> Any:
    try:
        return json.loads(content) if content else None
    except ValueError:
        return content.decode(errors="replace")
