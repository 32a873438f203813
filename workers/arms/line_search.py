"""Finds the lines of attached texts that match a regular expression or hold a text, with their true numbers."""

from orchestrator.models.errors import InvalidStepInput
from orchestrator.models.step_result import StepResult
from orchestrator.models.wording import count_of
from orchestrator.rules.pattern import compile_pattern
from workers.arms.base import Assignment, answer
from workers.arms.sources import read_sources
from workers.arms.text_files import matching_lines
from workers.sandbox.limited import limited

MAX_LINES = 500
MAX_LISTED_FILES = 500
_SPECIAL = frozenset("\\.+*?()|[]{}^$")


def find_lines(assignment: Assignment) -> StepResult:
    """Find the lines that match; raises InvalidStepInput for a pattern that RE2 does not know.

    The search runs in a limited child: its time is linear in the texts, but a large pattern has a large factor.
    """
    inputs = assignment.inputs
    pattern = inputs["pattern"]
    expression = _expression(
        pattern, literal=inputs.get("literal", False), folded=inputs.get("ignore_case", False)
    )
    try:
        compile_pattern(expression)
    except ValueError as fault:
        raise InvalidStepInput(f"pattern {pattern[:100]!r}: {fault}") from fault
    sources, skipped = read_sources(assignment)
    matches, counts = limited(
        matching_lines, "the texts that are searched", checkpoint=assignment.checkpoint
    )(expression, [(source.name, source.text) for source in sources], inputs.get("limit", MAX_LINES))
    found = sum(counts.values())
    places = f"{count_of(found, 'line')} in {count_of(len(counts), 'file')}"
    output = {
        "summary": f"{places} of {len(sources)} match {pattern[:80]!r}",
        "pattern": pattern,
        "matches": [{"file": file, "line": line, "quote": quote} for file, line, quote in matches],
        "found": found,
        "files": [{"file": file, "lines": count} for file, count in [*counts.items()][:MAX_LISTED_FILES]],
        "files_searched": len(sources),
        "skipped": skipped[:MAX_LISTED_FILES],
    }
    warnings = [f"{found - len(matches)} more lines are not listed"] if found > len(matches) else []
    if skipped:
        warnings.append(
            f"{count_of(len(skipped), 'file')} not read: {skipped[0]['file']} is {skipped[0]['reason']}"
        )
    evidence = [{"file": file, "line": line} for file, line, _ in matches[:MAX_LISTED_FILES]]
    return answer(assignment, output, evidence=evidence, warnings=warnings)


def _expression(pattern: str, *, literal: bool, folded: bool) -> str:
    text = "".join(f"\\{one}" if one in _SPECIAL else one for one in pattern) if literal else pattern
    return f"(?i){text}" if folded else text
