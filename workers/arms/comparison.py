"""Compares values, and texts line by line in linear time: by lines that both have once, exactly in short gaps."""

import difflib
import hashlib
import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.models.step_result import StepResult
from orchestrator.models.wording import count_of
from workers.arms.base import Assignment, answer
from workers.arms.sources import two_attachments, workspace
from workers.arms.tables import decode_text
from workers.arms.text_files import MAX_TEXT_BYTES, files_below

MAX_LINES_IN_DIFF = 2_000
MAX_LINE_CHARACTERS = 500
MAX_LISTED_FILES = 500
MAX_READ_BYTES = 16 * 1024 * 1024
_CONTEXT = 3
# lines of the first text times lines of the second one, between two lines that are anchors
_EXACT = 4_096

MAX_DIFFS = 20
MAX_VALUE_CHARACTERS = 2_000
MAX_COMPARED_CHARACTERS = 2**20

_Pair = tuple[int, int]


def compare(assignment: Assignment) -> StepResult:
    """Group the values that are equal as JSON, the largest group first; tell how the others differ from it."""
    groups: dict[str, list[str]] = {}
    values = assignment.inputs["values"]
    for name, value in values.items():
        text = json.dumps(value, sort_keys=True, ensure_ascii=False)
        groups.setdefault(hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(), []).append(name)
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), group[1]))
    texts = {names[0]: _as_text(values[names[0]]) for _, names in ordered}
    first = ordered[0][1][0]
    differences = {
        names[0]: differing(first, texts[first], names[0], texts[names[0]])
        for _, names in ordered[1 : MAX_DIFFS + 1]
    }
    output = {
        "summary": f"{count_of(len(values), 'value')} compared, {len(groups)} distinct",
        "compared": len(values),
        "distinct": len(groups),
        "all_equal": len(groups) == 1,
        "groups": [
            {
                "names": names,
                "sha256": digest,
                "value": texts[names[0]][:MAX_VALUE_CHARACTERS],
                "diff": differences.get(names[0], ""),
            }
            for digest, names in ordered
        ],
        "text": "\n".join(_told([names for _, names in ordered], differences)),
    }
    return answer(assignment, output)


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, ensure_ascii=False, indent=2)


def _told(groups: Sequence[Sequence[str]], differences: Mapping[str, str]) -> Iterator[str]:
    """Yield lines for people: which values are equal, and how each other group differs from the largest."""
    if len(groups) == 1:
        yield f"all {count_of(len(groups[0]), 'value')} are equal: {', '.join(groups[0])}"
        return
    for number, names in enumerate(groups):
        are_equal = "alone" if len(names) == 1 else "are equal"
        yield f"{', '.join(names)}: {are_equal}" + (f", and differ from {groups[0][0]}:" if number else "")
        if difference := differences.get(names[0]):
            yield difference


def diff(assignment: Assignment) -> StepResult:
    """Compare two attached texts, or the files of two archives by their names, as a unified diff."""
    first, second = two_attachments(assignment)
    with workspace(assignment, [first]) as one, workspace(assignment, [second]) as other:
        before, after = dict(files_below(one)), dict(files_below(other))
        if len(before) == len(after) == 1:
            # two versions of a file may have two names
            pairs = [(next(iter(before)), next(iter(after)))]
        else:
            pairs = [(name, name) for name in sorted({*before, *after})]
        files, lines = [], []
        room = MAX_READ_BYTES
        for old, new in pairs:
            assignment.checkpoint()
            paths = (before.get(old), after.get(new))
            room -= sum(path.stat().st_size for path in paths if path)
            found = _compared(old, new, *paths, reads=room >= 0)
            if found["status"] != "equal":
                lines += found.pop("lines")
                files.append(found)
    shown = lines[:MAX_LINES_IN_DIFF]
    added, removed = (sum(file[name] for file in files) for name in ("added", "removed"))
    output = {
        "summary": f"{count_of(len(files), 'file')} of {len(pairs)} differ, {count_of(added, 'line')} added, "
        f"{removed} removed",
        "equal": not files,
        "compared": len(pairs),
        "files": files[:MAX_LISTED_FILES],
        "added": added,
        "removed": removed,
        "diff": "\n".join(shown),
    }
    warnings = (
        [f"{len(lines) - len(shown)} more lines of the diff are not listed"]
        if len(shown) < len(lines)
        else []
    )
    warnings += [f"{file['file']} is {file['status']}" for file in files if file["status"] not in _PLAIN][:20]
    evidence = [{"artifact": one.sha256, "file": one.filename} for one in (first, second)]
    return answer(assignment, output, evidence=evidence, warnings=warnings)


_PLAIN = ("changed", "added", "removed")


def _compared(old: str, new: str, first: Path | None, second: Path | None, *, reads: bool) -> dict[str, Any]:
    texts = [_lines(path) if reads else None for path in (first, second)]
    is_plain = all(text is not None for text in texts)
    status = "added" if first is None else "removed" if second is None else "changed"
    if first and second and first.read_bytes() == second.read_bytes():
        return {"status": "equal"}
    if not is_plain:
        status = f"{status}, and not compared by lines: binary or too large"
    before, after = (text or [] for text in texts)
    lines = list(unified(before, after, old if first else "/dev/null", new if second else "/dev/null"))
    return {
        "file": new if second else old,
        "status": status,
        "added": sum(line.startswith("+") for line in lines[2:]),
        "removed": sum(line.startswith("-") for line in lines[2:]),
        "lines": lines,
    }


def _lines(path: Path | None) -> list[str] | None:
    """Return a file's lines, [] of none; None if it is binary or too large."""
    if path is None:
        return []
    if path.stat().st_size > MAX_TEXT_BYTES:
        return None
    content = path.read_bytes()
    text, _ = decode_text(content)
    return None if "\0" in text else text.splitlines()


class _Matcher(difflib.SequenceMatcher[str]):
    """Groups matches that were found elsewhere; difflib's own way to find them is not linear."""

    def __init__(self, blocks: list[difflib.Match]) -> None:
        super().__init__()
        self._found = blocks

    def get_matching_blocks(self) -> list[difflib.Match]:
        """Return the matches, the last of which is empty."""
        return self._found


def unified(before: Sequence[str], after: Sequence[str], old: str, new: str) -> Iterator[str]:
    """Yield the lines of the unified diff of two texts' lines, nothing if they are equal; long lines are cut."""
    matcher = _Matcher([*_blocks(matching(before, after)), difflib.Match(len(before), len(after), 0)])
    groups = list(matcher.get_grouped_opcodes(_CONTEXT))
    if not groups or before == after:
        return
    yield f"--- {old}"
    yield f"+++ {new}"
    for group in groups:
        first, last = group[0], group[-1]
        yield f"@@ -{_range(first[1], last[2])} +{_range(first[3], last[4])} @@"
        for tag, low, high, low_after, high_after in group:
            if tag == "equal":
                yield from (f" {line[:MAX_LINE_CHARACTERS]}" for line in before[low:high])
                continue
            yield from (f"-{line[:MAX_LINE_CHARACTERS]}" for line in before[low:high])
            yield from (f"+{line[:MAX_LINE_CHARACTERS]}" for line in after[low_after:high_after])


def matching(before: Sequence[str], after: Sequence[str]) -> list[_Pair]:
    """Return (index, index) of lines that both texts have in the same order; time is linear, up to a logarithm.

    Lines that occur once in each text are anchors (patience diff, Bram Cohen). A gap between two anchors is compared
    exactly if it is short, else only from both its ends.
    """
    anchors = _in_order(_once_in_both(before, after))
    found: list[_Pair] = []
    low, low_after = 0, 0
    for high, high_after in [*anchors, (len(before), len(after))]:
        found += _in_gap(before, after, (low, high), (low_after, high_after))
        if (high, high_after) != (len(before), len(after)):
            found.append((high, high_after))
        low, low_after = high + 1, high_after + 1
    return found


def _once_in_both(before: Sequence[str], after: Sequence[str]) -> list[_Pair]:
    here, there = Counter(before), Counter(after)
    places = {line: index for index, line in enumerate(after) if there[line] == 1}
    return [(index, places[line]) for index, line in enumerate(before) if here[line] == 1 and line in places]


def _in_order(pairs: Sequence[_Pair]) -> list[_Pair]:
    """Return the longest run of pairs whose second members rise, too."""
    ends: list[int] = []
    last: list[int] = []
    previous: list[int] = []
    for number, (_, place) in enumerate(pairs):
        size = bisect_left(ends, place)
        previous.append(last[size - 1] if size else -1)
        if size == len(ends):
            ends.append(place)
            last.append(number)
        else:
            ends[size], last[size] = place, number
    run: list[_Pair] = []
    number = last[-1] if last else -1
    while number >= 0:
        run.append(pairs[number])
        number = previous[number]
    return run[::-1]


def _in_gap(before: Sequence[str], after: Sequence[str], here: _Pair, there: _Pair) -> list[_Pair]:
    (low, high), (low_after, high_after) = here, there
    front: list[_Pair] = []
    while low < high and low_after < high_after and before[low] == after[low_after]:
        front.append((low, low_after))
        low, low_after = low + 1, low_after + 1
    back: list[_Pair] = []
    while low < high and low_after < high_after and before[high - 1] == after[high_after - 1]:
        high, high_after = high - 1, high_after - 1
        back.append((high, high_after))
    if 0 < (high - low) * (high_after - low_after) <= _EXACT:
        front += [
            (low + one, low_after + other)
            for one, other in _longest(before[low:high], after[low_after:high_after])
        ]
    return front + back[::-1]


def _longest(before: Sequence[str], after: Sequence[str]) -> Iterator[_Pair]:
    """Yield the pairs of a longest common subsequence; time is the product of the lengths."""
    rows = [[0] * (len(after) + 1) for _ in range(len(before) + 1)]
    for one in range(len(before) - 1, -1, -1):
        for other in range(len(after) - 1, -1, -1):
            rows[one][other] = (
                rows[one + 1][other + 1] + 1
                if before[one] == after[other]
                else max(rows[one + 1][other], rows[one][other + 1])
            )
    one = other = 0
    while one < len(before) and other < len(after):
        if before[one] == after[other]:
            yield one, other
            one, other = one + 1, other + 1
        elif rows[one + 1][other] >= rows[one][other + 1]:
            one += 1
        else:
            other += 1


def _blocks(pairs: Sequence[_Pair]) -> Iterator[difflib.Match]:
    begin = 0
    for number in range(1, len(pairs) + 1):
        is_end = number == len(pairs) or pairs[number] != (pairs[number - 1][0] + 1, pairs[number - 1][1] + 1)
        if is_end:
            yield difflib.Match(*pairs[begin], number - begin)
            begin = number


def _range(start: int, stop: int) -> str:
    length = stop - start
    if length == 1:
        return f"{start + 1}"
    return f"{start + 1 if length else start},{length}"


def differing(first: str, before: str, second: str, after: str) -> str:
    """Return how a text differs from the first one, each with its name, as a unified diff of at most 60 lines."""
    if len(before) + len(after) > MAX_COMPARED_CHARACTERS:
        return f"[texts of more than {MAX_COMPARED_CHARACTERS:,} characters are not compared by lines]"
    lines = list(unified(before.splitlines(), after.splitlines(), first, second))
    if not lines:
        return "[they differ only in their types or in line ends]"
    return "\n".join([*lines[:60], *([f"[{len(lines) - 60} more lines]"] if len(lines) > 60 else [])])
