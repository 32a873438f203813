"""What all arms share: the assignment of a step, the result of a step, and how an arm is loaded."""

import hashlib
import json
import math
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol

from orchestrator.auth.egress import EgressRules
from orchestrator.llm.completion import Completion
from orchestrator.llm.gate import Gate
from orchestrator.llm.prompt import Message
from orchestrator.llm.provider import Usage
from orchestrator.memory.documents import Document, IndexState, Passage
from orchestrator.memory.retrieval import SearchQuery, SearchResult
from orchestrator.models.arm_capability import ARMS, Action
from orchestrator.models.errors import InvalidStepInput, PermitDenied, Stopped, ToolTimeout
from orchestrator.models.model_errors import NoModel
from orchestrator.models.model_work import Work
from orchestrator.models.step_result import ResultStatus, StepResult
from orchestrator.models.task_contract import Attachment
from orchestrator.rules.json_schema import faults
from workers.environments.tool_settings import ToolSettings
from workers.sandbox.selection import NOT_TESTED, Sandbox, SandboxStatus


class CancelToken:
    """Signals an attempt to stop: set by another thread, or by its deadline, a value of time.monotonic()."""

    def __init__(self, deadline: float = math.inf) -> None:
        self._revoked = threading.Event()
        self._callbacks: list[Callable[[], None]] = []
        self._deadline = deadline

    def set(self) -> None:
        """Ask the attempt to stop: its lease is lost, its task has ended or its worker stops."""
        self._revoked.set()
        for callback in list(self._callbacks):
            callback()

    @contextmanager
    def calling(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call `callback` if `set` is called before the block ends, in the thread that calls it, or was before.

        The callback must end at once and may be called twice. It interrupts an arm that waits and can't check.
        """
        self._callbacks.append(callback)
        try:
            if self.is_revoked():
                callback()
            yield
        finally:
            self._callbacks.remove(callback)

    def is_set(self) -> bool:
        """Return whether the attempt must stop."""
        return self.is_revoked() or self.is_late()

    def is_revoked(self) -> bool:
        """Return whether the attempt has lost the right to store anything."""
        return self._revoked.is_set()

    def is_late(self) -> bool:
        """Return whether the deadline has passed."""
        return time.monotonic() >= self._deadline

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds`; return whether another thread asked the attempt to stop."""
        return self._revoked.wait(seconds)

    def raise_if_revoked(self) -> None:
        """Raise Stopped when the attempt has lost the right to store anything."""
        if self.is_revoked():
            raise Stopped()


class Model(Protocol):
    """The models that an arm may ask; `completions` are their answers for this assignment so far."""

    @property
    def completions(self) -> Sequence[Completion]:
        """Return all completions, the oldest first."""
        ...

    def room(self, work: Work) -> int:
        """Return how many bytes of material a question of this kind may have."""
        ...

    def ask(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None = None,
        *,
        work: Work,
        purpose: str,
        avoid: Collection[str] = (),
    ) -> Completion:
        """Return a completion; `work` decides which models are asked, and how long the answer may be.

        Raises StepError, for example ModelError, BudgetExceeded or MustWait.
        """
        ...


class Library(Protocol):
    """The search index of documents, limited to the task's tenant and attachments."""

    def describe(self, documents: Sequence[Document]) -> dict[Document, IndexState]:
        """Return what is indexed of each document; documents that are not indexed are left out."""
        ...

    def add(
        self,
        document: Document,
        *,
        passages: Sequence[Passage],
        files: int,
        skipped: Sequence[dict[str, str]],
    ) -> None:
        """Index a document; safe to call twice."""
        ...

    def search(
        self, sought: SearchQuery, *, documents: Sequence[Document], given: Sequence[Passage], limit: int
    ) -> tuple[SearchResult, list[str]]:
        """Return the best passages, and warnings; see orchestrator.memory.retrieval.search."""
        ...


class RemoteAccess(Protocol):
    """What the steps of HTTP arms need of their process."""

    @property
    def rules(self) -> EgressRules:
        """Return which URLs the operator allows."""
        ...

    @property
    def gate(self) -> Gate:
        """Return the arms' circuit breakers, shared by all processes."""
        ...

    def locate(self, arm_id: str) -> str:
        """Return the arm's URL as it is registered now; raises MustWait or ArmExpired when it has expired."""
        ...

    def secret(self, arm_id: str) -> str:
        """Return the secret that signs the requests to the arm."""
        ...

    def report_outage(self, arm_id: str, reason: str) -> None:
        """Record that the arm's breaker has opened, for the router and for clients."""
        ...

    def end_outage(self, arm_id: str) -> None:
        """Record that the arm answers again."""
        ...


def _save_nowhere(_name: str, _content: bytes, _media_type: str) -> str:
    raise LookupError("this assignment has no place for files")


@dataclass(frozen=True)
class Assignment:
    """One attempt at a step, as its arm gets it.

    References in `inputs` are resolved. `feedback` is the judge's, set in a repair round. `deadline` is a value of
    time.monotonic(). `open_artifact` returns an attachment's bytes by its sha256. `library` searches documents.
    `model` is None when no model is configured. `tools` are the programs that the step's permit allows, None when
    permits are not used. `remote` is what HTTP arms are called with. `report_progress` shows a percentage (or None) and
    a message to those who watch the task. `save_file` stores a file (name, content, media type) for the task's tenant
    and returns its sha256. `tool_settings` are the operator's, for steps that run tools.
    `output_schema` is the task's.
    """

    task_id: str
    step_id: str
    name: str
    round: int
    attempt: int
    arm: str
    action: str
    inputs: Mapping[str, Any]
    goal: str
    constraints: list[str] | dict[str, Any]
    context: dict[str, Any] | str | None
    attachments: tuple[Attachment, ...]
    feedback: str | None
    deadline: float
    cancelled: CancelToken
    open_artifact: Callable[[str], bytes]
    library: Library
    model: Model | None = None
    tools: tuple[str, ...] | None = None
    remote: RemoteAccess | None = None
    report_progress: Callable[[float | None, str], None] = lambda _percent, _message: None
    save_file: Callable[[str, bytes, str], str] = _save_nowhere
    output_schema: Mapping[str, Any] | None = None
    tool_settings: ToolSettings | None = None

    def require_tool(self, name: str) -> None:
        """Raise PermitDenied for a program that the step's permit does not allow."""
        if name not in (self.action_contract.tools if self.tools is None else self.tools):
            raise PermitDenied(f"step {self.name} may not run {name}: its permit does not name it")

    def require_model(self) -> Model:
        """Return the models; raises NoModel when none is configured."""
        if self.model is None:
            raise NoModel(
                f"{self.arm}.{self.action} needs a model, and none is configured: set OPENAI_API_KEY or "
                "ANTHROPIC_API_KEY, and OPENAI_BASE_URL for a server of your own (`octollm fake-llm` starts one to try)"
            )
        return self.model

    @property
    def idempotency_key(self) -> str:
        """Return a key of task, round and step: the same for every attempt, so that a service knows a repetition."""
        return self.step_id

    @property
    def action_contract(self) -> Action:
        """Return the contract of the step's action."""
        return ARMS[self.arm].actions[self.action]

    def checkpoint(self) -> None:
        """Raise Stopped when the attempt must stop, ToolTimeout after the deadline; call it between units of work."""
        if time.monotonic() >= self.deadline:
            raise ToolTimeout(f"step {self.name} ran longer than its limit")
        self.cancelled.raise_if_revoked()

    def digest(self) -> str:
        """Return the sha256 over everything that the output may depend on, except the arm's version."""
        record = [
            self.action,
            self.inputs,
            [attachment.sha256 for attachment in self.attachments],
            self.context,
            self.feedback,
            *([self.output_schema] if self.output_schema is not None else []),
        ]
        return hashlib.sha256(json.dumps(record, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class Arm(Protocol):
    """Runs the steps of one arm; several threads may use it at the same time."""

    def run(self, assignment: Assignment) -> StepResult:
        """Run the step; raises StepError when it fails."""
        ...


def check_inputs(assignment: Assignment) -> None:
    """Raise InvalidStepInput when the step's inputs break the contract of its action."""
    wrong = faults(assignment.action_contract.input_schema, dict(assignment.inputs))
    if wrong:
        found = [{"field": ".".join(map(str, fault.path)), "message": fault.message} for fault in wrong]
        first = f"{found[0]['field'] or 'inputs'}: {found[0]['message']}"
        raise InvalidStepInput(
            f"the inputs of step {assignment.name} break the contract of {assignment.action}: {first}",
            details={"errors": found},
        )


@dataclass(frozen=True)
class ActionArm:
    """An arm with one function for each action; checks a step's inputs against its contract first."""

    actions: Mapping[str, Callable[[Assignment], StepResult]]

    def run(self, assignment: Assignment) -> StepResult:
        """Run the step; raises StepError when it fails."""
        function = self.actions.get(assignment.action)
        if function is None:
            raise InvalidStepInput(f"arm {assignment.arm} has no action {assignment.action!r}")
        check_inputs(assignment)
        assignment.checkpoint()
        return function(assignment)


@dataclass(frozen=True)
class ToolUse:
    """The programs that a step ran, with their versions, and the sandbox that they ran in."""

    versions: Mapping[str, str]
    isolation: str = "not_needed"
    limits: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def inside(cls, sandbox: Sandbox, versions: Mapping[str, str]) -> "ToolUse":
        """Return the use of programs in a sandbox."""
        return cls(versions, sandbox.backend.isolation, sandbox.facts())


NO_TOOLS = ToolUse({})

_RUN_BY: Mapping[str, str] = {
    "function": "workers.arms.functions",
    "http": "workers.arms.remote",
    "mcp": "workers.arms.mcp",
}
"""For each kind of arm that is not made by a module of ours: what runs it, by `make(arm_id, sandbox)`."""


def load_arm(arm_id: str, *, sandbox: SandboxStatus = NOT_TESTED) -> Arm:
    """Import what runs an arm and make the arm by its `make`; `sandbox` is where it may run tools."""
    runner = _RUN_BY.get(ARMS[arm_id].kind)
    if runner is not None:
        make_of: Callable[[str, SandboxStatus], Arm] = import_module(runner).make
        return make_of(arm_id, sandbox)
    make: Callable[[SandboxStatus], Arm] = import_module(_module_of(arm_id)).make
    return make(sandbox)


def _module_of(arm_id: str) -> str:
    module = ARMS[arm_id].module
    if module is None:
        raise LookupError(f"the arm {arm_id} runs no steps: its manifest has no module")
    return module


def answer(
    assignment: Assignment,
    output: Mapping[str, Any],
    *,
    evidence: list[dict[str, Any]] | None = None,
    warnings: list[str] | None = None,
    tools: ToolUse = NO_TOOLS,
) -> StepResult:
    """Return the result of a step that succeeded."""
    completions = assignment.model.completions if assignment.model else ()
    return StepResult(
        status=ResultStatus.DONE,
        output=dict(output),
        evidence=evidence or [],
        usage=_usage(completions),
        warnings=warnings or [],
        provenance={
            "arm": assignment.arm,
            "action": assignment.action,
            "version": ARMS[assignment.arm].version,
            "tools": dict(tools.versions),
            "input_sha256": assignment.digest(),
            "isolation": tools.isolation,
            "limits": dict(tools.limits),
            "models": models_used(completions),
        },
    )


def models_used(completions: Sequence[Completion]) -> list[dict[str, Any]]:
    """Return which models answered which prompts; `fake` marks answers of our own fake server."""
    return [
        {"provider": item.provider, "model": item.model, "prompt": item.purpose, "fake": item.is_fake}
        for item in completions
    ]


def _usage(completions: Sequence[Completion]) -> dict[str, Any]:
    """Return the tokens and the cost of the completions; an unknown cost is null."""
    if not completions:
        return {}
    usage = sum((item.usage for item in completions), start=Usage())
    costs = [item.dollars for item in completions]
    known = [cost for cost in costs if cost is not None]
    return {
        "calls": len(completions),
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cost_dollars": str(sum(known)) if len(known) == len(costs) else None,
    }
