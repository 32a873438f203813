"""Counts lines, words and characters of texts, and adds up the numbers in the columns of tables."""

import re
from collections.abc import Iterator, Sequence
from decimal import Context, Decimal
from typing import Any

from orchestrator.models.errors import InvalidStepInput
from orchestrator.models.step_result import StepResult
from orchestrator.models.wording import count_of
from workers.arms.base import Assignment, answer
from workers.arms.sources import read_sources, selected_attachments
from workers.arms.tables import Table, read_delimited

MAX_LISTED = 500
_TABLES = (".csv", ".tsv")
_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3}){1,9}|\d{1,30})(?:\.\d{1,30})?")
_EXACT = Context(prec=80)


def measure(assignment: Assignment) -> StepResult:
    """Count what the texts hold, and of each column with numbers only its sum, mean, least and greatest.

    With `column`, only that column is added up, and what is no number in it is counted. Raises InvalidStepInput if no
    attached table has it.
    """
    column = assignment.inputs.get("column")
    sources, skipped = read_sources(assignment)
    files = [_counts(source.name, source.text) for source in sources]
    columns, warnings, known = [], [], set[str]()
    for attachment in selected_attachments(assignment):
        if not attachment.filename.lower().endswith(_TABLES):
            continue
        assignment.checkpoint()
        table = read_delimited(assignment.open_artifact(attachment.sha256), attachment.filename)
        warnings += table.warnings
        known |= set(table.columns)
        columns += list(_columns(table, attachment.filename, column))
    if column and not columns:
        there = ", ".join(sorted(known)[:50]) or "none"
        raise InvalidStepInput(
            f"no attached table (.csv, .tsv) has a column {column[:100]!r}; columns: {there}"
        )
    total = {name: sum(file[name] for file in files) for name in ("lines", "words", "characters", "bytes")}
    output = {
        "summary": f"{count_of(total['lines'], 'line')}, {count_of(total['words'], 'word')}, "
        f"{count_of(total['characters'], 'character')} in {count_of(len(files), 'text')}"
        + "".join(f"; {one['column']}: sum {one['sum']}, mean {one['mean']}" for one in columns[:3]),
        "files": files[:MAX_LISTED],
        "total": total,
        "columns": columns[:MAX_LISTED],
        "skipped": skipped[:MAX_LISTED],
    }
    return answer(assignment, output, warnings=warnings)


def _counts(name: str, text: str) -> dict[str, Any]:
    return {
        "file": name,
        "lines": text.count("\n") + bool(text and not text.endswith("\n")),
        "words": sum(1 for _ in _WORD.finditer(text)),
        "characters": len(text),
        "bytes": len(text.encode("utf-8", "surrogatepass")),
    }


def _columns(table: Table, file: str, wanted: str | None) -> Iterator[dict[str, Any]]:
    """Yield what the numbers of the wanted column are, or of each one that holds nothing else."""
    for name in table.columns:
        if wanted is not None and name.casefold() != wanted.casefold():
            continue
        cells = [cell.strip() for cell in table.column(name)]
        numbers = [Decimal(cell.replace(",", "")) for cell in cells if _NUMBER.fullmatch(cell)]
        others = sum(bool(cell) for cell in cells) - len(numbers)
        if wanted is not None or (numbers and not others):
            yield {"file": file, "column": name, **_statistics(numbers), "not_numbers": others}


def _statistics(numbers: Sequence[Decimal]) -> dict[str, Any]:
    total = Decimal(0)
    for number in numbers:
        total = _EXACT.add(total, number)
    return {
        "count": len(numbers),
        "sum": _plain(total),
        "mean": _plain(_EXACT.divide(total, Decimal(len(numbers)))) if numbers else None,
        "min": _plain(min(numbers)) if numbers else None,
        "max": _plain(max(numbers)) if numbers else None,
    }


def _plain(number: Decimal) -> int | float:
    """Return the nearest JSON number; a whole one without a fraction."""
    return int(number) if number == number.to_integral_value() else float(number)
