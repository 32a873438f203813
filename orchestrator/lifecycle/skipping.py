"""Says whether a plan skips a step that could run: by its `when`, or because it reads a skipped step's output."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from orchestrator.models.errors import StepError
from orchestrator.planner.references import sources_needed
from orchestrator.rules.check_rule import CheckContext, check, steps_named


class Skipped(StepError):
    """The plan skips the step, so nobody is asked about it."""

    code = "skipped"


def skip_reason(
    spec: Mapping[str, Any], done: Collection[str], read: Callable[[Collection[str]], Mapping[str, Any]]
) -> str | None:
    """Return why the step of a row's spec is skipped; None if it runs.

    `done` are those of the steps that it depends on that have an output: a step is released when all of them are done
    or skipped, so the others were skipped. `read` returns the outputs of some of them.
    """
    needed = sources_needed([spec["inputs"], spec.get("for_each")])
    if missing := [name for name in needed if name not in done]:
        return f"skipped: it reads the output of step {missing[0]}, which was skipped"
    rule = spec.get("when")
    if rule is None:
        return None
    outcome = check(rule, CheckContext(read([name for name in steps_named(rule) if name in done])))
    return None if outcome.met else f"skipped: {outcome.explanation}"
