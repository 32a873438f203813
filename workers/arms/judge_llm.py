"""Judges criteria that have no rule by a model; a verdict counts only with quotes that are in the outputs."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog

from orchestrator.llm.prompt import Part, Role, Untrusted, compose, load_prompt, trusted
from orchestrator.models.errors import MustWait, StepError
from orchestrator.models.model_work import Work
from orchestrator.models.verdict import CheckedBy, CriterionFinding
from workers.arms.base import Model
from workers.arms.excerpts import fair_shares, shortened, size_of
from workers.arms.judge_rules import RoundView

log = structlog.get_logger(__name__)

MIN_QUOTE_CHARACTERS = 3
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "verdicts": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "number": {"type": "integer"},
                    "met": {"type": ["boolean", "null"]},
                    "explanation": {"type": "string", "maxLength": 2_000},
                    "quotes": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {"step": {"type": "string"}, "quote": {"type": "string"}},
                            "required": ["step", "quote"],
                            "additionalProperties": False,
                        },
                    },
                },
                "required": ["number", "met", "explanation", "quotes"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["verdicts"],
    "additionalProperties": False,
}


def judged_by_model(
    view: RoundView, findings: Sequence[CriterionFinding], model: Model
) -> tuple[CriterionFinding, ...]:
    """Return the findings; a model judges those that no rule checked, if its quotes are in the outputs.

    Providers that did not produce the results are asked first. When no model answers, the findings stay not checked
    and have the reason. Raises MustWait when a model can be asked later.
    """
    open_ones = [index for index, finding in enumerate(findings) if _is_open(finding, view)]
    if not open_ones:
        return tuple(findings)
    outputs = {name: text_of(output) for name, output in view.outputs().items()}
    try:
        shown = _shown(view, [findings[index] for index in open_ones], outputs, model.room(Work.JUDGE))
        prompt = load_prompt("judge.rubric")
        completion = model.ask(
            [
                compose(Role.SYSTEM, prompt.fill()),
                compose(Role.USER, *_question(view, [findings[index] for index in open_ones], shown)),
            ],
            _SCHEMA,
            work=Work.JUDGE,
            purpose=prompt.purpose,
            avoid=_producers(view),
        )
    except MustWait:
        raise
    except StepError as away:
        log.warning("judge.no_model", code=away.code)
        why = f"no model could judge it ({away.code}: {away.message})"
        return _with(findings, {index: replace(findings[index], explanation=why) for index in open_ones})
    verdicts = {verdict["number"]: verdict for verdict in completion.value["verdicts"]}
    judge = f"{completion.provider}:{completion.model}"
    judged = {
        index: _judged(findings[index], verdicts.get(number), outputs, judge=judge)
        for number, index in enumerate(open_ones, start=1)
    }
    return _with(findings, judged)


def _is_open(finding: CriterionFinding, view: RoundView) -> bool:
    """Return whether a model may judge a finding: it has no rule, and its step finished."""
    if finding.checked_by is not CheckedBy.NOT_CHECKED or finding.reason is not None:
        return False
    return finding.step is None or view.is_done(finding.step)


def _judged(
    finding: CriterionFinding, verdict: Mapping[str, Any] | None, outputs: Mapping[str, str], *, judge: str
) -> CriterionFinding:
    if verdict is None or verdict["met"] is None:
        why = verdict["explanation"] if verdict else "it gave no verdict"
        return replace(finding, explanation=f"the model could not decide: {why}")
    quotes = list(_found_quotes(verdict["quotes"], outputs))
    if verdict["met"] and not quotes:
        return replace(finding, explanation="the model calls it met, but none of its quotes is in an output")
    return replace(
        finding,
        met=verdict["met"],
        checked_by=CheckedBy.LLM,
        explanation=verdict["explanation"],
        evidence=[*quotes, {"model": judge}],
    )


def _found_quotes(
    quotes: Sequence[Mapping[str, Any]], outputs: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """Yield the quotes that are verbatim in their step's output."""
    for item in quotes:
        quote = item["quote"]
        if len(quote.strip()) >= MIN_QUOTE_CHARACTERS and quote in outputs.get(item["step"], ""):
            yield {"step": item["step"], "quote": quote}


def _shown(
    view: RoundView, findings: Sequence[CriterionFinding], outputs: Mapping[str, str], room: int
) -> dict[str, str]:
    """Return what the model gets of each output, the parts for its criteria first."""
    room -= size_of(view.contract.goal) + sum(size_of(finding.criterion) for finding in findings)

    def criteria_of(name: str) -> list[str]:
        return [finding.criterion for finding in findings if finding.step in (None, name)]

    return outputs_within(outputs, room, criteria_of)


def outputs_within(
    outputs: Mapping[str, str], room: int, wanted_of: Callable[[str], Sequence[str]]
) -> dict[str, str]:
    """Return the outputs by step, each whole or shortened to a fair share of `room` bytes.

    `wanted_of` returns the texts whose words decide which parts of a step's output are kept.
    """
    shares = fair_shares([size_of(text) for text in outputs.values()], max(room, 0))
    return {
        name: text if size_of(text) <= share else shortened(text, room=share, wanted=wanted_of(name))
        for (name, text), share in zip(outputs.items(), shares, strict=True)
    }


def text_of(output: Any) -> str:
    """Return an output as text with unchanged strings, so that they can be quoted verbatim."""
    if isinstance(output, str):
        return output
    if isinstance(output, Mapping):
        return "\n".join(f"{name}: {text_of(value)}" for name, value in output.items())
    if isinstance(output, list):
        return "\n".join(f"- {text_of(item)}" for item in output)
    return json.dumps(output)


def _question(view: RoundView, findings: Sequence[CriterionFinding], shown: Mapping[str, str]) -> list[Part]:
    outputs: list[Part] = []
    for name, text in shown.items():
        outputs += [Untrusted("step", name), Untrusted("output", text)]
    return [
        Untrusted("goal", view.contract.goal),
        Untrusted("criteria", "\n".join(_criterion(*numbered) for numbered in enumerate(findings, start=1))),
        *outputs,
        trusted("Judge each criterion."),
    ]


def _criterion(number: int, finding: CriterionFinding) -> str:
    """Return a criterion as one line of JSON, so that its text can't look like another criterion."""
    line = {"number": number, "criterion": finding.criterion, "step": finding.step}
    return json.dumps({name: value for name, value in line.items() if value is not None}, ensure_ascii=False)


def _producers(view: RoundView) -> list[str]:
    """Return the providers whose models produced the results."""
    used = [
        model["provider"] for result in view.results.values() for model in result.provenance.get("models", ())
    ]
    return list(dict.fromkeys(used))


def _with(
    findings: Sequence[CriterionFinding], changed: Mapping[int, CriterionFinding]
) -> tuple[CriterionFinding, ...]:
    return tuple(changed.get(index, finding) for index, finding in enumerate(findings))
