"""Compares two tables by keys: the rows that were added and removed, and the cells that changed."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from orchestrator.models.errors import InvalidStepInput
from orchestrator.models.step_result import StepResult
from orchestrator.models.task_contract import Attachment
from orchestrator.models.wording import count_of
from workers.arms.base import Assignment, answer
from workers.arms.sources import two_attachments
from workers.arms.tables import Table, read_delimited

MAX_LISTED = 500
MAX_SHOWN_CHARACTERS = 200

_Key = tuple[Any, ...]


@dataclass(frozen=True)
class _Comparison:
    """Two tables whose rows are paired by `keys`; without any, equal rows are pairs."""

    before: Table
    after: Table
    keys: Sequence[str]

    def paired(self) -> tuple[dict[_Key, list[str]], dict[_Key, list[str]]]:
        """Return the rows of both tables by key; equal keys are numbered, so that none is lost."""
        return _by_key(self.before, self.keys), _by_key(self.after, self.keys)

    @property
    def common(self) -> list[str]:
        """Return the columns that both tables have, without the keys."""
        return [name for name in self.before.columns if name in set(self.after.columns) - set(self.keys)]


def compare_tables(assignment: Assignment) -> StepResult:
    """Compare two attached tables; raises InvalidStepInput for a key that is no column of both."""
    first, second = two_attachments(assignment)
    before, after = (_read(assignment, one) for one in (first, second))
    keys = _keys(before, after, assignment.inputs.get("keys", ()))
    comparison = _Comparison(before, after, keys)
    old, new = comparison.paired()
    added = [key for key in new if key not in old]
    removed = [key for key in old if key not in new]
    changed = list(islice(_changes(comparison, old, new), 10 * MAX_LISTED + 1))
    is_whole = len(changed) <= 10 * MAX_LISTED
    counted = f"{len(changed)}" if is_whole else f"more than {10 * MAX_LISTED}"
    output = {
        "summary": f"{count_of(len(added), 'row')} added, {len(removed)} removed, {counted} "
        f"cell{'' if len(changed) == 1 else 's'} changed, compared by {', '.join(keys) or 'whole rows'}",
        "keys": keys,
        "columns_added": [name for name in after.columns if name not in set(before.columns)],
        "columns_removed": [name for name in before.columns if name not in set(after.columns)],
        "added_count": len(added),
        "removed_count": len(removed),
        "changed_count": len(changed),
        "equal": not (added or removed or changed) and before.columns == after.columns,
        "added": _listed(after, [new[key] for key in added[:MAX_LISTED]]),
        "removed": _listed(before, [old[key] for key in removed[:MAX_LISTED]]),
        "changed": changed[:MAX_LISTED],
        "complete": max(len(added), len(removed), len(changed)) <= MAX_LISTED,
    }
    evidence = [{"artifact": one.sha256, "file": one.filename} for one in (first, second)]
    warnings = [*before.warnings, *after.warnings, *_repeated(comparison)]
    if not output["complete"]:
        warnings.append(f"at most {MAX_LISTED} rows or cells of each kind are listed")
    return answer(assignment, output, evidence=evidence, warnings=warnings)


def _read(assignment: Assignment, attachment: Attachment) -> Table:
    assignment.checkpoint()
    return read_delimited(assignment.open_artifact(attachment.sha256), attachment.filename)


def _keys(before: Table, after: Table, given: Sequence[str]) -> list[str]:
    """Return the columns that identify a row: the given ones, else one with unique values, else none."""
    common = [name for name in before.columns if name in set(after.columns)]
    if missing := [name for name in given if name not in common]:
        raise InvalidStepInput(
            f"the key {missing[0]!r} is not a column of both tables; columns of both: {', '.join(common[:50])}"
        )
    if given:
        return list(dict.fromkeys(given))
    best, overlap = "", 0
    for name in common:
        one, other = before.column(name), after.column(name)
        values = set(one)
        is_key = len(values) == len(one) and len(set(other)) == len(other) and "" not in {*values, *other}
        if is_key and (shared := len(values & set(other))) > overlap:
            best, overlap = name, shared
    return [best] if best else []


def _by_key(table: Table, keys: Sequence[str]) -> dict[_Key, list[str]]:
    places = [table.columns.index(name) for name in keys] or list(range(len(table.columns)))
    seen: Counter[tuple[str, ...]] = Counter()
    found: dict[_Key, list[str]] = {}
    for row in table.rows:
        key = tuple(row[place] for place in places)
        seen[key] += 1
        found[(*key, seen[key])] = row
    return found


def _changes(
    comparison: _Comparison, old: dict[_Key, list[str]], new: dict[_Key, list[str]]
) -> Iterator[dict[str, str]]:
    if not comparison.keys:
        return
    before, after = comparison.before.columns, comparison.after.columns
    places = [(name, before.index(name), after.index(name)) for name in comparison.common]
    for key, row in old.items():
        other = new.get(key)
        if other is None:
            continue
        for name, here, there in places:
            if row[here] != other[there]:
                told = ", ".join(
                    f"{one}={value}" for one, value in zip(comparison.keys, key[:-1], strict=True)
                )
                yield {
                    "row": _shown(told),
                    "column": name,
                    "before": _shown(row[here]),
                    "after": _shown(other[there]),
                }


def _repeated(comparison: _Comparison) -> Iterator[str]:
    if comparison.keys:
        for name, table in (("first", comparison.before), ("second", comparison.after)):
            keys = {tuple(cells) for cells in zip(*map(table.column, comparison.keys), strict=True)}
            if repeated := len(table.rows) - len(keys):
                yield f"the {name} table has {count_of(repeated, 'row')} with a key that an earlier row has"


def _listed(table: Table, rows: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return rows as a table; as objects they would lose the order of the columns in the database."""
    return {"columns": table.columns, "rows": [list(map(_shown, row)) for row in rows]}


def _shown(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[: MAX_SHOWN_CHARACTERS - 1]}…"
