"""In a replay: answers steps that write from what they did then, and fails an attempt whose request had no answer."""

from dataclasses import replace
from typing import Any

from orchestrator.chord.database import statement
from orchestrator.memory import model_answers
from orchestrator.models.model_errors import ReplayMiss
from orchestrator.models.step_result import StepResult
from workers.attempt.context import AttemptContext, Handler


def fail_on_miss(attempt: AttemptContext, proceed: Handler) -> Any:
    """Raise the first ReplayMiss of the attempt, also if what asked the model went on without an answer."""
    outcome = proceed(attempt)
    if attempt.misses:
        raise attempt.misses[0]
    return outcome


def answer_write(attempt: AttemptContext, proceed: Handler) -> Any:
    """Return what a step that writes did when it had the same inputs: a replay changes nothing outside.

    Comes after bind_inputs. Raises ReplayMiss if it had other inputs then, or was not done.
    """
    fork, claim = attempt.contract.fork, attempt.claim
    if fork is None or fork.replay_of is None or attempt.action.effects != "write":
        return proceed(attempt)
    with statement(attempt.process.engine) as conn:
        done = model_answers.result_of(
            conn, fork.replay_of, tenant=claim.tenant, step=claim.name, round_number=claim.round
        )
    name = f"{claim.arm}.{attempt.action.name}"
    if done is None:
        raise ReplayMiss(
            f"{name} writes, which a replay does not do, and step {claim.name} was not done then."
        )
    provenance = done.result.provenance
    is_same = (provenance.get("arm"), provenance.get("action")) == (claim.arm, attempt.action.name)
    if not is_same or provenance.get("input_sha256") != attempt.assignment.digest():
        raise ReplayMiss(
            f"{name} writes, which a replay does not do, and step {claim.name} had other inputs then."
        )
    result: StepResult = done.result
    return replace(result, provenance={**provenance, "replay_of": done.row_id})
