"""What every arm stands on: the assignment it is given, the result it answers, and how it is found."""

import hashlib
import json
import math
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from orchestrator.llm.completion import Completion
from orchestrator.llm.prompt import Message
from orchestrator.llm.provider import Usage
from orchestrator.memory.documents import Document, IndexState, Passage
from orchestrator.memory.retrieval import SearchQuery, SearchResult
from orchestrator.models.arm_capability import ARMS, Action
from orchestrator.models.errors import InvalidStepInput, PermitDenied, Stopped, ToolTimeout
from orchestrator.models.model_errors import NoModel
from orchestrator.models.step_result import ResultStatus, StepResult
from orchestrator.models.task_contract import Attachment
from orchestrator.rules.json_schema import faults
from workers.sandbox.choice import NOT_TESTED, Standing

_MODULES = {
    "retriever": "workers.arms.retriever",
    "coder": "workers.arms.coder",
    "executor": "workers.arms.executor",
    "safety-guardian": "workers.arms.guardian",
    "judge": "workers.arms.judge",
}


class CancelToken:
    """Tells an attempt to stop: when another thread sets it, or when its deadline (time.monotonic) has passed."""

    def __init__(self, deadline: float = math.inf) -> None:
        self._revoked = threading.Event()
        self._deadline = deadline

    def set(self) -> None:
        """Ask the attempt to stop, for its lease is lost, its task has ended or its worker stops."""
        self._revoked.set()

    def is_set(self) -> bool:
        """Tell whether the attempt is to stop."""
        return self.is_revoked() or self.is_late()

    def is_revoked(self) -> bool:
        """Tell whether the attempt has lost the right to store anything."""
        return self._revoked.is_set()

    def is_late(self) -> bool:
        """Tell whether the attempt has used up its time."""
        return time.monotonic() >= self._deadline

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds`; return whether another thread asked the attempt to stop."""
        return self._revoked.wait(seconds)

    def raise_if_revoked(self) -> None:
        """Raise Stopped when the attempt has lost the right to store anything."""
        if self.is_revoked():
            raise Stopped()


class Model(Protocol):
    """The models as an arm may ask them; `completions` are what they answered to this assignment so far."""

    @property
    def completions(self) -> Sequence[Completion]:
        """Return all answers, the oldest first."""
        ...

    def ask(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None = None,
        *,
        max_output_tokens: int,
        purpose: str,
        avoid: Collection[str] = (),
    ) -> Completion:
        """Return an answer; raises StepError, a ModelError, BudgetExceeded or MustWait among them."""
        ...


class Library(Protocol):
    """The index of documents as an arm may use it: of the task's own tenant, and of what the task attaches."""

    def describe(self, documents: Sequence[Document]) -> dict[Document, IndexState]:
        """Return what is indexed of those of the documents that are."""
        ...

    def add(
        self,
        document: Document,
        *,
        passages: Sequence[Passage],
        files: int,
        skipped: Sequence[dict[str, str]],
    ) -> None:
        """Index a document; calling it twice is safe."""
        ...

    def search(
        self, sought: SearchQuery, *, documents: Sequence[Document], given: Sequence[Passage], limit: int
    ) -> tuple[SearchResult, list[str]]:
        """Return the passages that fit best, and warnings; see orchestrator.memory.retrieval.search."""
        ...


@dataclass(frozen=True)
class Assignment:
    """One attempt at a step, as its arm sees it.

    `inputs` have their references resolved; `feedback` is the judge's in a repair round; `deadline` is a
    value of time.monotonic(); `open_artifact` returns an attachment's bytes by its sha256; `library` is where
    documents are searched; `model` is None where no model is configured; `tools` are what the step's permit lets it
    run, None where none is asked for.
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

    def require_tool(self, name: str) -> None:
        """Raise PermitDenied for a tool that this step was not planned to run."""
        if name not in (self.offer.tools if self.tools is None else self.tools):
            raise PermitDenied(f"step {self.name} may not run {name}: its permit does not name it")

    def require_model(self) -> Model:
        """Return the models; raises NoModel when none is configured."""
        if self.model is None:
            raise NoModel(
                f"{self.arm}.{self.action} needs a model, and none is configured: set OPENAI_API_KEY or "
                "ANTHROPIC_API_KEY, for a server of your own OPENAI_BASE_URL, too (`octollm fake-llm` is one to try)"
            )
        return self.model

    @property
    def offer(self) -> Action:
        """Return the contract of the action that is asked for."""
        return ARMS[self.arm].actions[self.action]

    def checkpoint(self) -> None:
        """Call between units of work: raises Stopped or, past the deadline, ToolTimeout."""
        if time.monotonic() >= self.deadline:
            raise ToolTimeout(f"step {self.name} ran longer than its limit")
        self.cancelled.raise_if_revoked()

    def digest(self) -> str:
        """Return the sha256 over everything that the output may depend on but the arm's version."""
        record = [
            self.action,
            self.inputs,
            [attachment.sha256 for attachment in self.attachments],
            self.context,
            self.feedback,
        ]
        return hashlib.sha256(json.dumps(record, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class Arm(Protocol):
    """Does the steps of one arm; may be used by several threads at once."""

    def run(self, assignment: Assignment) -> StepResult:
        """Do the step; raises StepError when that can't be done."""
        ...


@dataclass(frozen=True)
class ActionArm:
    """An arm made of one function an action; checks the inputs before."""

    actions: Mapping[str, Callable[[Assignment], StepResult]]

    def run(self, assignment: Assignment) -> StepResult:
        """Do the step; raises StepError when that can't be done."""
        behaviour = self.actions.get(assignment.action)
        if behaviour is None:
            raise InvalidStepInput(f"arm {assignment.arm} has no action {assignment.action!r}")
        wrong = faults(assignment.offer.input_schema, dict(assignment.inputs))
        if wrong:
            found = [{"field": ".".join(map(str, fault.path)), "message": fault.message} for fault in wrong]
            first = f"{found[0]['field'] or 'inputs'}: {found[0]['message']}"
            raise InvalidStepInput(
                f"the inputs of step {assignment.name} break the contract of {assignment.action}: {first}",
                details={"errors": found},
            )
        assignment.checkpoint()
        return behaviour(assignment)


def load_arm(arm_id: str, *, standing: Standing = NOT_TESTED) -> Arm:
    """Import and make one arm; `standing` says in what sandbox it may run tools."""
    make: Callable[[Standing], Arm] = import_module(_MODULES[arm_id]).make
    return make(standing)


def answer(
    assignment: Assignment,
    output: Mapping[str, Any],
    *,
    evidence: list[dict[str, Any]] | None = None,
    warnings: list[str] | None = None,
    tools: Mapping[str, str] | None = None,
    isolation: str = "not_needed",
    limits: Mapping[str, Any] | None = None,
) -> StepResult:
    """Return the result of a step that was done."""
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
            "tools": dict(tools or {}),
            "input_sha256": assignment.digest(),
            "isolation": isolation,
            "limits": dict(limits or {}),
            "models": told(completions),
        },
    )


def told(completions: Sequence[Completion]) -> list[dict[str, Any]]:
    """Return which models answered to which prompts; `fake` says that our own fake server did."""
    return [
        {"provider": item.provider, "model": item.model, "prompt": item.purpose, "fake": item.is_fake}
        for item in completions
    ]


def _usage(completions: Sequence[Completion]) -> dict[str, Any]:
    """Return what the answers took; a cost that is not known is null."""
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
