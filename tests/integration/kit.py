"""Acts as a worker on the real database: claims rows and stores outcomes, without a broker."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

import psycopg2.extensions
from sqlalchemy import Connection, Engine, event

from orchestrator import conclusion, executor
from orchestrator.chord import chord
from orchestrator.chord.database import statement, transaction
from orchestrator.conclusion import PlanAsked
from orchestrator.executor import StepCompletion
from orchestrator.lifecycle import submission
from orchestrator.lifecycle.ending import Ended
from orchestrator.lifecycle.retry import retry as retry_task
from orchestrator.lifecycle.saved_round import SavedRound
from orchestrator.memory import claims, events, tasks
from orchestrator.memory.claims import Claim
from orchestrator.memory.steps import StepMessage
from orchestrator.models.caller import Caller
from orchestrator.models.plan import Plan
from orchestrator.models.step_result import ResultStatus, StepResult
from orchestrator.models.task_contract import Attachment, Budget, Contract
from orchestrator.models.verdict import Decision, Verdict
from orchestrator.planner.check import check_plan
from orchestrator.settings import Settings

TENANT = "acme"


def wait_step(name: str, *after: str, **more: Any) -> dict[str, Any]:
    """Return a client's step that needs no attachment: a timer of no length."""
    return {
        "id": name,
        "arm": "executor",
        "action": "wait",
        "inputs": {"seconds": 0},
        "depends_on": list(after),
        **more,
    }


class Engineer:
    """Does by hand what planner, arms and judge do, each transition in its own transaction."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings
        self.published: list[StepMessage] = []

    def submit(
        self, *plan: dict[str, Any], budget: Budget | None = None, tenant: str = TENANT, **contract: Any
    ) -> str:
        """Submit a task with a client's plan and return its id."""
        asked = Contract(goal="do it", plan={"steps": list(plan)}, budget=budget or Budget(), **contract)
        submitted = submission.submit(
            self.engine,
            settings=self.settings,
            caller=Caller(tenant),
            contract=asked,
        )
        self.published.extend(submitted.messages)
        return submitted.task_id

    def retry(self, task_id: str, **how: Any) -> str:
        """Retry an ended task, adopt its plan again, and return the new task's id."""
        again = retry_task(
            self.engine,
            settings=self.settings,
            caller=Caller(TENANT),
            task_id=task_id,
            **how,
        )
        self.published.extend(again.messages)
        self.plan(again.task_id)
        return again.task_id

    def start(self, *plan: dict[str, Any], **contract: Any) -> str:
        """Submit a task and adopt its plan; return its id."""
        task_id = self.submit(*plan, **contract)
        self.plan(task_id)
        return task_id

    def claim(
        self,
        task_id: str,
        name: str,
        *,
        owner: str = "me",
        lease_seconds: float = 15,
        max_running: int | None = None,
    ) -> Claim | None:
        """Claim the newest row of that name, as a worker called `owner`."""
        with statement(self.engine) as conn:
            claim = claims.claim(
                conn,
                self.row(task_id, name)["id"],
                owner=owner,
                lease_seconds=lease_seconds,
                poison_step=self.settings.poison_step,
                max_running=max_running,
            )
        return claim if isinstance(claim, Claim) else None

    def take(self, task_id: str, name: str, **how: Any) -> Claim:
        """Claim a row; fails the test when it can't be claimed."""
        claim = self.claim(task_id, name, **how)
        assert claim is not None, f"{name} could not be claimed: {self.row(task_id, name)}"
        return claim

    def plan(self, task_id: str) -> SavedRound:
        """Claim the plan row and adopt the client's plan, opening its chord as the backend would."""
        claim = self.take(task_id, "$plan")
        plan = check_plan(
            claim.contract["plan"],
            tenant=claim.tenant,
            attachments=[Attachment(**file) for file in claim.attachments or ()],
        )
        return self.adopt(claim, plan, {step.id: step.preferred._asdict() for step in plan.steps})

    def adopt(self, claim: Claim, plan: Plan, routes: Mapping[str, Mapping[str, Any]]) -> SavedRound:
        """Adopt a plan with its routing decisions, opening its chord as the backend would."""
        with transaction(self.engine) as conn:
            saved = executor.adopt(conn, claim, plan, routes=routes, settings=self.settings)
            _open_chord(conn, saved)
        return saved

    def store(self, claim: Claim, result: StepResult) -> StepCompletion:
        """Store a step's outcome as the backend would: chord lock, hook, join, count."""
        with transaction(self.engine) as conn:
            assert claim.chord_id is not None
            chord.lock(conn, claim.chord_id)
            completion = executor.complete(conn, claim, result, settings=self.settings)
            chord.join(conn, claim.chord_id, [message.id for message in completion.released])
            chord.count_part(conn, claim.chord_id, chord.FinishedPart(claim.id), outcome=None, store=False)
        return completion

    def do(self, task_id: str, name: str, *, output: Any = None, **how: Any) -> StepCompletion:
        """Claim a step and complete it successfully."""
        return self.store(self.take(task_id, name, **how), done(output))

    def fail(self, task_id: str, name: str) -> StepCompletion:
        """Claim a step and fail it without a retry."""
        return self.store(self.take(task_id, name), failed())

    def judge(self, task_id: str, verdict: Verdict) -> Ended | SavedRound | PlanAsked:
        """Claim the judge and conclude the round with a verdict."""
        return self.conclude(self.take(task_id, "$judge"), verdict)

    def conclude(self, claim: Claim, verdict: Verdict) -> Ended | SavedRound | PlanAsked:
        """Conclude a round with a verdict, and open the next round's chord if there is one."""
        with transaction(self.engine) as conn:
            concluded = conclusion.conclude(conn, claim, verdict, settings=self.settings)
            if isinstance(concluded, SavedRound):
                _open_chord(conn, concluded)
        return concluded

    def row(self, task_id: str, name: str) -> dict[str, Any]:
        """Return the newest row of that name."""
        return self.rows(task_id, name)[-1]

    def rows(self, task_id: str, name: str) -> list[dict[str, Any]]:
        """Return the rows of that name, a round each."""
        sql = "SELECT * FROM steps WHERE task_id = %(task)s AND name = %(name)s ORDER BY round"
        return self.ask(sql, task=task_id, name=name)

    def states(self, task_id: str) -> dict[str, str]:
        """Return {name: state} of the task's newest rows."""
        sql = "SELECT DISTINCT ON (name) name, state FROM steps WHERE task_id = %(task)s ORDER BY name, round DESC"
        return {row["name"]: row["state"] for row in self.ask(sql, task=task_id)}

    def chord_of(self, task_id: str, *, round_number: int = 1) -> dict[str, Any]:
        """Return the row of a round's chord."""
        sql = """SELECT c.* FROM chords c JOIN rounds r ON r.chord_id = c.id
                 WHERE r.task_id = %(task)s AND r.number = %(number)s"""
        return self.ask(sql, task=task_id, number=round_number)[0]

    def task(self, task_id: str) -> tasks.TaskRecord:
        """Return the task."""
        with statement(self.engine) as conn:
            task = tasks.find_task(conn, TENANT, task_id)
        assert task is not None
        return task

    def events(self, task_id: str) -> list[events.Event]:
        """Return all of the task's events."""
        with statement(self.engine) as conn:
            return events.read(conn, task_id)

    def ask(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        """Run a statement and return its rows, if it has any."""
        with statement(self.engine) as conn:
            result = conn.exec_driver_sql(sql, values)
            return [dict(row) for row in result.mappings()] if result.returns_rows else []


def done(output: Any = None) -> StepResult:
    """Return the result of a successful step."""
    return StepResult(ResultStatus.DONE, output=output if output is not None else {"summary": "done"})


def failed(code: str = "tool_failed", *, retryable: bool = False, message: str = "it failed") -> StepResult:
    """Return the result of a step that failed."""
    error = {"code": code, "message": message, "retryable": retryable, "details": {}}
    return StepResult(ResultStatus.FAILED, error=error)


def verdict(decision: Decision, **faulty: str) -> Verdict:
    """Return a verdict that blames steps with feedback."""
    return Verdict(decision, 1.0, faulty=faulty, output="it is so")


class _Died(Exception):
    """The process that held a transaction died."""


@contextmanager
def held_open(engine: Engine) -> Iterator[Connection]:
    """A transaction that never commits, as when its process dies."""
    with suppress(_Died), transaction(engine) as conn:
        yield conn
        raise _Died


def _open_chord(conn: Connection, saved: SavedRound) -> None:
    chord.open(conn, saved.chord_id, body=b"{}", size=len(saved.header))


class NotingCursor(psycopg2.extensions.cursor):  # type: ignore[misc]  # psycopg2 has no types
    """Notes what it sends; unlike SQLAlchemy's events, also what is sent by the driver's own cursors."""

    sent: ClassVar[list[str]] = []

    def execute(self, query: Any, parameters: Any = None) -> None:
        """Note the text and send it."""
        self.sent.append(str(query))
        super().execute(query, parameters)


@contextmanager
def sent_by(engine: Engine) -> Iterator[list[str]]:
    """Return the texts that the engine's connections send in the block, one for each round trip."""

    def note(connection: Any, *_: object) -> None:
        connection.cursor_factory = NotingCursor

    def leave(connection: Any, *_: object) -> None:
        connection.cursor_factory = None

    NotingCursor.sent = []
    event.listen(engine, "checkout", note)
    event.listen(engine, "reset", leave)
    try:
        yield NotingCursor.sent
    finally:
        event.remove(engine, "checkout", note)
        event.remove(engine, "reset", leave)
