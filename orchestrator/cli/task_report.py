"""Prints how a task ended: the judge's verdict with its evidence, the result, the costs."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import click

from orchestrator.cli.client import ApiClient
from orchestrator.models.wording import count_of

_MARKS = {True: "✓", False: "✗", None: "?"}
_NOT_REQUIRED = "–"
# lines of the output that repeat the verdict's findings begin so
_REPEATED = ("Not met: ", "not checked: ")
_COLOURS = {True: "green", False: "red", None: "yellow"}
_CHECKERS = {"rule": "by rule", "llm": "by model", "not_checked": "not checked"}
_EVIDENCE_WIDTH = 200
_MAX_SENTENCES = 20

Line = tuple[str, str | None]


@dataclass(frozen=True)
class Decisions:
    """What a task's trace says about its end: the judge's last verdict with its evidence, and all calls to models."""

    verdict: Mapping[str, Any] | None = None
    models: Sequence[Mapping[str, Any]] = ()

    def spending(self) -> list[dict[str, Any]]:
        """Return calls, tokens and US dollars of each kind of work; dollars are None if a call's price is not known."""
        spent: dict[str, dict[str, Any]] = {}
        for record in self.models:
            # older traces name only the prompt
            work = str(record.get("work") or record.get("purpose", "")).partition("@")[0]
            total = spent.setdefault(
                work, {"work": work, "calls": 0, "tokens": 0, "cost_dollars": Decimal(0)}
            )
            for attempt in record.get("attempts", ()):
                if not attempt["called"]:
                    continue
                cost = attempt["cost_dollars"]
                total["calls"] += 1
                total["tokens"] += (attempt["input_tokens"] or 0) + (attempt["output_tokens"] or 0)
                is_known = cost is not None and total["cost_dollars"] is not None
                total["cost_dollars"] = total["cost_dollars"] + Decimal(cost) if is_known else None
        return [
            {**total, "cost_dollars": None if total["cost_dollars"] is None else float(total["cost_dollars"])}
            for total in spent.values()
            if total["calls"]
        ]


def read_decisions(client: ApiClient, task_id: str) -> Decisions:
    """Return the verdict and the calls to models in the task's trace."""
    after, verdict, models = 0, None, []
    while True:
        page = client.get(f"/v1/tasks/{task_id}/trace?results=false&after={after}")
        for decision in page["decisions"]:
            if decision["kind"] == "verdict":
                verdict = decision["data"]
            elif decision["kind"] == "model":
                models.append(decision["data"])
        if not page["decisions"]:
            return Decisions(verdict, models)
        after = page["next_after"]


def print_report(task: Mapping[str, Any], decisions: Decisions) -> None:
    """Print how a task ended, in colours if stdout is a terminal."""
    for line, look in lines_of_task(task, decisions.verdict, decisions.spending()):
        style: dict[str, Any] = {look: True} if look in ("dim", "bold") else {"fg": look}
        click.echo(click.style(line, **style) if look else line)


def lines_of_task(
    task: Mapping[str, Any], verdict: Mapping[str, Any] | None, spending: Sequence[Mapping[str, Any]] = ()
) -> Iterator[Line]:
    """Yield (line, style or None): verdict, answer, what the steps did, warnings, costs and a closing line."""
    repeated = _REPEATED if verdict else ()
    if verdict:
        yield from lines_of_verdict(verdict)
        yield "", None
    result = task.get("result") or {}
    if result.get("output"):
        yield ("Result (partial)" if result.get("partial") else "Result"), "bold"
        yield from ((f"  {line}", None) for line in _without(repeated, str(result["output"]).splitlines()))
    if result.get("summary") not in (None, "", result.get("output")):
        yield "Steps", "bold"
        yield from ((f"  {line}", "dim") for line in _without(repeated, result["summary"].splitlines()))
    for file in result.get("artifacts") or []:
        yield f"  file {file['name']}, {file['size_bytes']} bytes: {file['artifact_id']}", None
    for warning in _without(repeated, result.get("warnings") or []):
        yield f"  ! {warning}", "yellow"
    error = task.get("error")
    if error:
        yield error["message"], "red"
    for item in spending:
        yield f"  {_spent(item)}", "dim"
    yield _closing(task), "dim"


def lines_of_waiting(waiting: Mapping[str, Any]) -> Iterator[str]:
    """Yield what each open step waits for, at most _MAX_SENTENCES of them, and how a person decides."""
    # the first sentence is about the whole task
    said = waiting["sentences"][1:]
    for sentence in said[:_MAX_SENTENCES]:
        decide = f" See and decide: octollm approvals {sentence['approval_id']}"
        yield shortened(sentence["text"]) + (decide if sentence["approval_id"] else "")
    left_out = len(said) - _MAX_SENTENCES + waiting["left_out"]
    if left_out > 0:
        yield f"and {count_of(left_out, 'more open row')}"


def lines_of_verdict(verdict: Mapping[str, Any]) -> Iterator[Line]:
    """Yield (line, style or None): each criterion, whether it is met, how it was checked, the evidence."""
    colour = {"passed": "green", "failed": "red"}.get(verdict["decision"], "yellow")
    # release 0.1 named the coverage `confidence`
    coverage = verdict.get("coverage", verdict.get("confidence"))
    findings = verdict.get("findings") or []
    counted = "criteria" if all(item.get("required", True) for item in findings) else "required criteria"
    share = "" if coverage is None else f" ({100 * coverage:.0f} % of the {counted} were checked)"
    yield f"Verdict: {verdict['decision']}{share}", colour
    for finding in findings:
        met = finding["met"]
        checker = _CHECKERS.get(finding["checked_by"], finding["checked_by"])
        place = f", step {finding['step']}" if finding.get("step") else ""
        is_required = met or finding.get("required", True)
        mark, look = (_MARKS[met], _COLOURS[met]) if is_required else (_NOT_REQUIRED, "dim")
        note = "" if is_required else ", not required"
        yield f"  {mark} {finding['criterion']}  [{checker}{place}{note}]", look
        if finding.get("explanation"):
            yield f"      {finding['explanation']}", None
        if evidence := _evidence_of(finding):
            yield f"      evidence: {shortened(evidence)}", "dim"


def _evidence_of(finding: Mapping[str, Any]) -> str:
    """Return the evidence on one line, without values that the explanation contains."""
    explanation = str(finding.get("explanation") or "")
    items = [
        item if isinstance(item, Mapping) else {"evidence": item} for item in finding.get("evidence") or []
    ]
    rest = [
        {name: value for name, value in item.items() if value not in (None, "", [], {})}
        for item in items
        if not all(compact(value) in explanation for value in item.values())
    ]
    return "; ".join(", ".join(f"{name} {compact(value)}" for name, value in item.items()) for item in rest)


def _without(beginnings: tuple[str, ...], lines: Iterable[str]) -> Iterator[str]:
    return (line for line in lines if not line.startswith(beginnings))


def _spent(item: Mapping[str, Any]) -> str:
    cost = item["cost_dollars"]
    told = "price unknown" if cost is None else f"${cost:.4f}"
    return f"{item['work']}: {count_of(item['calls'], 'call')}, {count_of(item['tokens'], 'token')}, {told}"


def _closing(task: Mapping[str, Any]) -> str:
    spent = task.get("metadata") or {}
    parts = [f"{task['task_id']} {task['status']}"]
    if spent.get("duration_seconds") is not None:
        parts.append(f"{spent['duration_seconds']:.1f} s")
    if spent.get("arms_used"):
        parts.append("arms " + ", ".join(spent["arms_used"]))
    if spent.get("repairs"):
        parts.append(count_of(spent["repairs"], "repair"))
    if spent.get("replans"):
        parts.append(f"planned again {'once' if spent['replans'] == 1 else str(spent['replans']) + ' times'}")
    parts.append(count_of(spent.get("tokens_used", 0), "token"))
    return " · ".join(parts)


def compact(value: Any) -> str:
    """Return a text as it is, any other value as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def shortened(text: str, width: int = _EVIDENCE_WIDTH) -> str:
    """Return a text on one line of at most `width` characters."""
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"
