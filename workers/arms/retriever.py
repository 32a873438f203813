"""Retrieves: what attachments hold, passages that fit a query, values of earlier steps in one place."""

import hashlib
import re
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator.execution_state import StepResult
from workers.arms.base import ActionArm, Arm, Assignment, answer, count_of
from workers.arms.ranking import Passage, Query, rank
from workers.arms.sources import (
    NotText,
    Source,
    files_below,
    python_files,
    read_sources,
    read_text,
    the_one,
    workspace,
)

MAX_LISTED_FILES = 500
PASSAGE_LINES = 12
DEFAULT_LIMIT = 10
MAX_QUOTE_CHARACTERS = 2_000
_TEST_FUNCTION = re.compile(r"^[ \t]*(?:async[ \t]+)?def[ \t]+test\w*[ \t]*\(", re.MULTILINE)


def make(_trusted_sha256: Collection[str]) -> Arm:
    """Return the retriever."""
    return ActionArm({"inventory": inventory, "search": search, "collect": collect})


def inventory(assignment: Assignment) -> StepResult:
    """List an attachment's files, and the Python packages and tests among them."""
    attachment = the_one(assignment)
    with workspace(assignment, [attachment]) as root:
        files = []
        for name, path in files_below(root):
            assignment.checkpoint()
            files.append(_entry(name, path))
        sources = python_files(root)
        tests = [(name, path) for name, path in sources if _is_test(name)]
        functions = sum(_test_functions(path) for _, path in tests)
    output = {
        "summary": f"{count_of(len(files), 'file')} in {attachment.filename}, {len(sources)} of them Python, "
        f"with {count_of(functions, 'test function')} in {count_of(len(tests), 'test file')}",
        "files": files[:MAX_LISTED_FILES],
        "listed": min(len(files), MAX_LISTED_FILES),
        "total_files": len(files),
        "total_bytes": sum(file["bytes"] for file in files),
        "python_files": len(sources),
        "packages": _packages([name for name, _ in sources])[:MAX_LISTED_FILES],
        "modules": [name for name, _ in sources if not _is_test(name)][:MAX_LISTED_FILES],
        "test_files": [name for name, _ in tests][:MAX_LISTED_FILES],
        "test_functions": functions,
    }
    return answer(assignment, output, evidence=[{"artifact": attachment.sha256, "files": len(files)}])


def search(assignment: Assignment) -> StepResult:
    """Find the passages that fit the query best, quoted verbatim with their places."""
    query = Query.parse(assignment.inputs["query"])
    sources, skipped = read_sources(assignment)
    passages: list[Passage] = []
    for source in sources:
        assignment.checkpoint()
        passages.extend(_passages(source))
    hits = rank(query, passages)
    matches = [
        _match(hit.passage, hit.score, hit.terms)
        for hit in hits[: assignment.inputs.get("limit", DEFAULT_LIMIT)]
    ]
    places = ", ".join(f"{match['file']}:{match['line']}" for match in matches[:5]) or "nowhere"
    output = {
        "summary": f"{len(hits)} of {count_of(len(passages), 'passage')} fit "
        f"{', '.join(query.terms)}: {places}",
        "query": assignment.inputs["query"],
        "terms": list(query.terms),
        "matches": matches,
        "found": len(hits),
        "files_searched": len(sources),
        "passages_searched": len(passages),
        "skipped": skipped[:MAX_LISTED_FILES],
    }
    evidence = [{"file": match["file"], "line": match["line"]} for match in matches]
    return answer(assignment, output, evidence=evidence, warnings=_unread(skipped))


def collect(assignment: Assignment) -> StepResult:
    """Return the given values; their references were resolved before."""
    values = assignment.inputs["values"]
    held = f": {', '.join(list(values)[:20])}" if isinstance(values, dict) else ""
    count = len(values) if isinstance(values, (dict, list)) else 1
    return answer(assignment, {"summary": f"{count_of(count, 'value')} collected{held}", "values": values})


def _entry(name: str, path: Path) -> dict[str, Any]:
    text = read_text(path)
    lines = None if isinstance(text, NotText) else text.count("\n") + bool(text and not text.endswith("\n"))
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": name, "bytes": path.stat().st_size, "lines": lines, "sha256": digest}


def _is_test(name: str) -> bool:
    stem = PurePosixPath(name).stem
    return stem.startswith("test_") or stem.endswith("_test")


def _test_functions(path: Path) -> int:
    text = read_text(path)
    return len(_TEST_FUNCTION.findall(text)) if isinstance(text, str) else 0


def _packages(names: list[str]) -> list[str]:
    return sorted(
        str(PurePosixPath(name).parent) for name in names if PurePosixPath(name).name == "__init__.py"
    )


def _passages(source: Source) -> Iterator[Passage]:
    """Yield the source's paragraphs; long ones in pieces of PASSAGE_LINES."""
    lines: list[str] = []
    for number, line in enumerate([*source.lines(), ""], start=1):
        if line.strip():
            lines.append(line)
        if lines and (not line.strip() or len(lines) == PASSAGE_LINES):
            last = number if line.strip() else number - 1
            yield Passage(source.name, last - len(lines) + 1, tuple(lines))
            lines = []


def _match(passage: Passage, score: float, terms: tuple[str, ...]) -> dict[str, Any]:
    quote = "\n".join(passage.lines)[:MAX_QUOTE_CHARACTERS]
    return {
        "file": passage.file,
        "line": passage.line,
        "end_line": passage.line + quote.count("\n"),
        "quote": quote,
        "score": round(score, 4),
        "terms": list(terms),
    }


def _unread(skipped: list[dict[str, str]]) -> list[str]:
    if not skipped:
        return []
    return [f"{count_of(len(skipped), 'file')} not read: {skipped[0]['file']} is {skipped[0]['reason']}"]
