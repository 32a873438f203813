"""The judge's word on criteria that no rule can decide: a model's, and only where the quotes it gives stand there."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog

from orchestrator.llm.prompt import Part, Role, Untrusted, compose, load_prompt, trusted
from orchestrator.models.errors import MustWait, StepError
from orchestrator.models.verdict import CheckedBy, CriterionFinding
from workers.arms.base import Model
from workers.arms.checks import RoundView

log = structlog.get_logger(__name__)

MAX_OUTPUT_TOKENS = 800
MAX_SHOWN_CHARACTERS = 3_000
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
    """Return the findings, with those that nobody checked judged by a model where its quotes hold.

    Another provider than those that made the results is asked first. When no model answers, they stay not checked
    and say why. Raises MustWait when there is room for the question later.
    """
    open_ones = [index for index, finding in enumerate(findings) if _is_open(finding, view)]
    if not open_ones:
        return tuple(findings)
    shown = _shown(view)
    try:
        prompt = load_prompt("judge.rubric")
        completion = model.ask(
            [
                compose(Role.SYSTEM, prompt.fill()),
                compose(Role.USER, *_question(view, [findings[index] for index in open_ones], shown)),
            ],
            _SCHEMA,
            max_output_tokens=MAX_OUTPUT_TOKENS,
            purpose=prompt.purpose,
            avoid=_producers(view),
        )
    except MustWait:
        raise
    except StepError as away:
        log.warning("judge.no_model", code=away.code)
        told = f"no model could judge it ({away.code}: {away.message})"
        return _with(findings, {index: replace(findings[index], explanation=told) for index in open_ones})
    words = {word["number"]: word for word in completion.value["verdicts"]}
    said_by = f"{completion.provider}:{completion.model}"
    judged = {
        index: _judged(findings[index], words.get(number), shown, said_by=said_by)
        for number, index in enumerate(open_ones, start=1)
    }
    return _with(findings, judged)


def _is_open(finding: CriterionFinding, view: RoundView) -> bool:
    """Tell whether a model may have a word on it: what has a rule is no matter of words, and a step that did not
    finish has shown nothing."""
    if finding.checked_by is not CheckedBy.NOT_CHECKED or finding.reason is not None:
        return False
    return finding.step is None or view.is_done(finding.step)


def _judged(
    finding: CriterionFinding, word: Mapping[str, Any] | None, shown: Mapping[str, str], *, said_by: str
) -> CriterionFinding:
    if word is None or word["met"] is None:
        told = word["explanation"] if word else "the model said nothing of it"
        return replace(finding, explanation=f"the model could not tell: {told}")
    standing = list(_standing(word["quotes"], shown))
    if word["met"] and not standing:
        return replace(
            finding, explanation="the model calls it met, but no quote that it gives stands in an output"
        )
    return replace(
        finding,
        met=word["met"],
        checked_by=CheckedBy.LLM,
        explanation=word["explanation"],
        evidence=[*standing, {"model": said_by}],
    )


def _standing(quotes: Sequence[Mapping[str, Any]], shown: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the quotes that stand verbatim in what was shown of their step."""
    for item in quotes:
        quote = item["quote"]
        if len(quote.strip()) >= MIN_QUOTE_CHARACTERS and quote in shown.get(item["step"], ""):
            yield {"step": item["step"], "quote": quote}


def _shown(view: RoundView) -> dict[str, str]:
    """Return what the model sees of each output, each with its fair share of the room."""
    outputs = view.outputs()
    room = MAX_SHOWN_CHARACTERS // max(1, len(outputs))
    return {name: _text(output)[:room] for name, output in outputs.items()}


def _text(output: Any) -> str:
    """Return an output as text in which strings stand as they are, so that they can be quoted verbatim."""
    if isinstance(output, str):
        return output
    if isinstance(output, Mapping):
        return "\n".join(f"{name}: {_text(value)}" for name, value in output.items())
    if isinstance(output, list):
        return "\n".join(f"- {_text(item)}" for item in output)
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
    """Return a criterion as one line of JSON: its text can't pretend to be another one."""
    told = {"number": number, "criterion": finding.criterion, "step": finding.step}
    return json.dumps({name: value for name, value in told.items() if value is not None}, ensure_ascii=False)


def _producers(view: RoundView) -> list[str]:
    """Return the providers whose models had a part in the results."""
    used = [
        model["provider"] for result in view.results.values() for model in result.provenance.get("models", ())
    ]
    return list(dict.fromkeys(used))


def _with(
    findings: Sequence[CriterionFinding], changed: Mapping[int, CriterionFinding]
) -> tuple[CriterionFinding, ...]:
    return tuple(changed.get(index, finding) for index, finding in enumerate(findings))
