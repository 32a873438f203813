"""Explains code by a model: the lines that it speaks of are checked to stand where it says."""

from collections.abc import Mapping
from typing import Any

from orchestrator.llm.prompt import Role, Untrusted, compose, load_prompt
from orchestrator.models.step_result import StepResult
from orchestrator.models.wording import count_of
from workers.arms.base import Assignment, answer
from workers.arms.checks import check_citations
from workers.arms.shown_source import DEFAULT_BYTES, shown_source
from workers.arms.sources import the_one, workspace

MAX_OUTPUT_TOKENS = 1_000
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "explanation": {"type": "string", "minLength": 1, "maxLength": 10_000},
        "places": {
            "type": "array",
            "maxItems": 50,
            "items": {
                "type": "object",
                "properties": {
                    "file": {"type": "string"},
                    "line": {"type": "integer", "minimum": 1},
                    "quote": {"type": "string"},
                },
                "required": ["file", "line", "quote"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["explanation", "places"],
    "additionalProperties": False,
}


def explain(assignment: Assignment) -> StepResult:
    """Explain an attachment's code; places whose quote does not stand there are left out and told."""
    model = assignment.require_model()
    inputs = assignment.inputs
    with workspace(assignment, [the_one(assignment)]) as root:
        shown = shown_source(
            root,
            paths=inputs.get("paths", ()),
            hints=[inputs["question"]],
            room=inputs.get("room", DEFAULT_BYTES),
        )
    prompt = load_prompt("coder.explain")
    completion = model.ask(
        [
            compose(Role.SYSTEM, prompt.fill()),
            compose(Role.USER, *shown.parts(), Untrusted("question", inputs["question"])),
        ],
        _SCHEMA,
        max_output_tokens=MAX_OUTPUT_TOKENS,
        purpose=prompt.purpose,
    )
    said = completion.value["places"]
    checked = check_citations(said, shown.lines())
    places = [place for place, finding in zip(said, checked, strict=True) if finding["met"]]
    left_out = len(said) - len(places)
    output = {
        "summary": completion.value["explanation"],
        "explanation": completion.value["explanation"],
        "places": places,
        "left_out": left_out,
        "not_shown": list(shown.left_out),
    }
    warnings = [f"{count_of(left_out, 'place')} left out: the quote does not stand there"] if left_out else []
    evidence = [{"file": place["file"], "line": place["line"]} for place in places]
    return answer(assignment, output, evidence=evidence, warnings=warnings)
