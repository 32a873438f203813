"""Sends a stream of requests through the real submission, and acts as the workers for tasks that must run."""

import heapq
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bench.support.virtual_clock import VirtualClock
from bench.workload.dictionary import repeatable
from bench.workload.outcome import RAN, Outcome
from bench.workload.stream import Kind, Request
from orchestrator.chord.database import statement
from orchestrator.models.caller import Caller
from orchestrator.models.task_contract import Contract
from orchestrator.models.verdict import Decision, Verdict
from orchestrator.orchestrator import Orchestrator
from tests.integration.cache.kit import COLLECT, WAIT, Company
from tests.integration.kit import TENANT

SERVICE_SECONDS: Final = 20.0
_ANSWERS: Final = """
SELECT id, status, coalesce(cache ->> 'layer', %(ran)s) AS layer, result ->> 'output' AS served
FROM tasks
"""


@dataclass
class Drive:
    """One run over a stream. A task takes SERVICE_SECONDS of the virtual clock; its result contains its class.

    A task with side effects is done by an action whose result holds for the moment only, the strictest that the
    registry has: none of its actions writes outside.
    """

    orchestrator: Orchestrator
    company: Company
    clock: VirtualClock
    hit_seconds: list[float] = field(default_factory=list)
    miss_seconds: list[float] = field(default_factory=list)
    _requests: dict[str, Request] = field(default_factory=dict)
    _running: list[tuple[float, str]] = field(default_factory=list)
    _followers: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def model_calls(self) -> int:
        """Return the number of model calls that were recorded: comparisons of similar goals cause them."""
        [row] = self._ask("SELECT count(*) AS calls FROM ledger")
        return int(row["calls"])

    def run(self, requests: Sequence[Request]) -> list[Outcome]:
        """Submit all requests at their times and finish all tasks; return the outcome of each from Postgres."""
        for request in requests:
            self._work_until(request.at)
            self.clock.advance(request.at)
            self._submit(request)
        self._work_until(float("inf"))
        return self._outcomes()

    def _submit(self, request: Request) -> None:
        started = time.perf_counter()
        submitted = self.orchestrator.submit(
            Caller(TENANT), Contract(request.goal, constraints=request.constraints)
        )
        seconds = time.perf_counter() - started
        self._requests[submitted.task_id] = request
        cached = submitted.cached
        (self.hit_seconds if cached.outcome == "hit" else self.miss_seconds).append(seconds)
        if cached.source_task_id is None:
            self._start(submitted.task_id, at=request.at)
        elif cached.outcome == "coalesced":
            self._followers[cached.source_task_id].append(submitted.task_id)

    def _start(self, task_id: str, *, at: float) -> None:
        heapq.heappush(self._running, (at + SERVICE_SECONDS, task_id))

    def _work_until(self, at: float) -> None:
        while self._running and self._running[0][0] <= at:
            done_at, task_id = heapq.heappop(self._running)
            self.clock.advance(done_at)
            self._work(task_id, done_at)

    def _work(self, task_id: str, at: float) -> None:
        request = self._requests[task_id]
        step = WAIT if request.kind is Kind.EFFECT else COLLECT
        verdict = Verdict(Decision.PASSED, 1.0, output=request.label)
        self.company.run(task_id, step, verdict=verdict)
        waiting = self._followers.pop(task_id, [])
        if waiting and (successor := self._find_successor(waiting)):
            self._followers[successor] = [other for other in waiting if other != successor]
            self._start(successor, at=at)

    def _find_successor(self, waiting: list[str]) -> str | None:
        """Return the follower that must run now; None if all received the leader's result."""
        found = self._ask("SELECT id FROM tasks WHERE id = ANY(%(ids)s) AND leads", ids=waiting)
        return str(found[0]["id"]) if found else None

    def _outcomes(self) -> list[Outcome]:
        answers = {row["id"]: row for row in self._ask(_ANSWERS, ran=RAN)}
        unfinished = [task_id for task_id, row in answers.items() if row["status"] != "completed"]
        if unfinished or len(answers) != len(self._requests):
            raise RuntimeError(f"{len(unfinished)} of {len(answers)} tasks have not been completed")
        could = repeatable(
            list(self._requests.values()),
            ttl_seconds=self.orchestrator.settings.cache_ttl,
            service_seconds=SERVICE_SECONDS,
        )
        return [
            Outcome(request, answers[task_id]["layer"], answers[task_id]["served"], was_repeatable)
            for (task_id, request), was_repeatable in zip(self._requests.items(), could, strict=True)
        ]

    def _ask(self, query: str, **values: Any) -> list[dict[str, Any]]:
        with statement(self.orchestrator.engine) as conn:
            return [dict(row) for row in conn.exec_driver_sql(query, values or None).mappings()]
