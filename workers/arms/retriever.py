"""The retriever: lists attachments, finds passages in them, answers from them, collects and compares values."""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator.memory.documents import Document, IndexState, Passage
from orchestrator.memory.retrieval import Hit, SearchQuery
from orchestrator.models.errors import InvalidStepInput
from orchestrator.models.step_result import StepResult
from orchestrator.models.task_contract import Attachment
from orchestrator.models.wording import count_of
from orchestrator.safety.archive import is_archive
from workers.arms.base import ActionArm, Arm, Assignment, answer
from workers.arms.comparison import compare, diff
from workers.arms.line_search import find_lines
from workers.arms.links import check_links
from workers.arms.measures import measure
from workers.arms.reading import Reading, read, read_by_parts, whole_passages
from workers.arms.sources import (
    SourceText,
    context_source,
    folders,
    plain_name,
    read_sources,
    selected_attachments,
    single_attachment,
    texts_below,
    warnings_of,
    workspace,
)
from workers.arms.synthesis import Wish, fits, places_in, room_for, synthesise
from workers.arms.table_comparison import compare_tables
from workers.arms.text_files import NotText, files_below, is_test_file, python_files, read_text
from workers.sandbox.selection import SandboxStatus

MAX_LISTED_FILES = 500
DEFAULT_LIMIT = 10
MAX_ANSWER_PASSAGES = 50
_PACKED = 4
"""Attachments of more than so many times the room of a question are not read to see whether they fit, even packed."""
MAX_IN_SUMMARY = 3
MAX_SUMMARY_CHARACTERS = 160
MAX_LINES = 12
MAX_CHARACTERS = 2_000
MAX_PASSAGES = 100_000
"""The limit for one document. Its text is at most 16 MiB, which is fewer passages at 200 bytes a paragraph."""
_WORD = re.compile(r"\w[\w'-]*")
_QUOTED = re.compile(r'"([^"]+)"')
_EXCLUDED = re.compile(r'(?:^|(?<=\s))-(?:"[^"]*"|\S+)')
_TEST_FUNCTION = re.compile(r"^[ \t]*(?:async[ \t]+)?def[ \t]+test\w*[ \t]*\(", re.MULTILINE)


def make(_sandbox: SandboxStatus) -> Arm:
    """Return the retriever."""
    return ActionArm(
        {
            "inventory": inventory,
            "search": search,
            "collect": collect,
            "compare": compare,
            "answer": answer_question,
            "find_lines": find_lines,
            "compare_tables": compare_tables,
            "diff": diff,
            "measure": measure,
            "check_links": check_links,
        }
    )


def inventory(assignment: Assignment) -> StepResult:
    """List an attachment's files, and the Python packages and tests among them."""
    attachment = single_attachment(assignment)
    with workspace(assignment, [attachment]) as root:
        files = []
        for name, path in files_below(root):
            assignment.checkpoint()
            files.append(_entry(name, path))
        sources = python_files(root)
        tests = [
            (name, path) for name, path in sources if is_test_file(name) and not name.endswith("conftest.py")
        ]
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
        "modules": [name for name, _ in sources if not is_test_file(name)][:MAX_LISTED_FILES],
        "test_files": [name for name, _ in tests][:MAX_LISTED_FILES],
        "test_functions": functions,
    }
    return answer(assignment, output, evidence=[{"artifact": attachment.sha256, "files": len(files)}])


def search(assignment: Assignment) -> StepResult:
    """Find the passages that match the query best, quoted verbatim with their places."""
    output, warnings = _found(assignment, assignment.inputs["query"])
    told = [*warnings_of(output["skipped"]), *warnings]
    return answer(assignment, output, evidence=places_in(output["matches"]), warnings=told)


def answer_question(assignment: Assignment) -> StepResult:
    """Answer a question from the documents; needs a model.

    The model gets the whole documents if they fit. Otherwise it gets the passages that match the query, or the
    question, best. If nothing matches, or with the input `whole`, it reads the documents by parts and answers from its
    notes.
    """
    assignment.require_model()
    inputs = assignment.inputs
    wish = Wish(inputs["question"])
    is_whole, room = inputs.get("whole", False), room_for(assignment, wish)
    sizes = sum(attachment.size_bytes for attachment in selected_attachments(assignment))
    if is_whole or (not inputs.keys() & {"query", "limit"} and sizes <= _PACKED * room):
        passages, warnings = _whole(assignment)
        if is_whole or fits(passages, room):
            return _answer_from(assignment, read(assignment, passages, wish), warnings)
    output, warnings = _found(assignment, inputs.get("query", inputs["question"]), limit=MAX_ANSWER_PASSAGES)
    if not output["matches"]:
        passages, warnings = _whole(assignment)
        return _answer_from(assignment, read_by_parts(assignment, passages, wish), warnings)
    unread = output["found"] - len(output["matches"])
    return synthesise(assignment, output["matches"], warnings=warnings, unread=unread)


def _whole(assignment: Assignment) -> tuple[list[dict[str, Any]], list[str]]:
    """Return all texts as passages, and a warning about files that are no text."""
    sources, skipped = read_sources(assignment)
    return whole_passages(sources), warnings_of(skipped)


def _answer_from(assignment: Assignment, reading: Reading, warnings: Sequence[str]) -> StepResult:
    told = [*warnings, *reading.warnings()]
    return synthesise(assignment, reading.passages, warnings=told, unread=len(reading.unread))


def _found(
    assignment: Assignment, query: str, *, limit: int = DEFAULT_LIMIT
) -> tuple[dict[str, Any], list[str]]:
    terms = terms_of(query)
    attachments = selected_attachments(assignment)
    holdings = [_holding(assignment, attachment) for attachment in attachments]
    context = all_passages_of([context_source(assignment)], "the context") if assignment.context else []
    found, warnings = assignment.library.search(
        SearchQuery(query, terms, unwanted=unwanted_in(query), literal=is_literal(query)),
        documents=[_document(attachment) for attachment in attachments],
        given=context,
        limit=assignment.inputs.get("limit", limit),
    )
    names = dict(zip(map(_document, attachments), _names(attachments), strict=True))
    matches = [_match(hit, names) for hit in found.hits]
    passages = sum(holding.passages for holding in holdings) + len(context)
    skipped = [
        item
        for holding, name in zip(holdings, _names(attachments), strict=True)
        for item in _unread(holding, name)
    ]
    places = "; ".join(map(_match_summary, matches[:MAX_IN_SUMMARY])) or "nowhere"
    output = {
        "summary": f"{found.total} of {count_of(passages, 'passage')} fit "
        f"{', '.join(terms)}{' (any of it)' if found.hits and found.loosely else ''}: {places}",
        "query": query,
        "terms": terms,
        "matches": matches,
        "found": found.total,
        "files_searched": sum(holding.files for holding in holdings) + bool(assignment.context),
        "passages_searched": passages,
        "skipped": skipped[:MAX_LISTED_FILES],
    }
    return output, warnings


def collect(assignment: Assignment) -> StepResult:
    """Return the given values; their references are already resolved."""
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


def _test_functions(path: Path) -> int:
    text = read_text(path)
    return len(_TEST_FUNCTION.findall(text)) if isinstance(text, str) else 0


def _packages(names: list[str]) -> list[str]:
    return sorted(
        str(PurePosixPath(name).parent) for name in names if PurePosixPath(name).name == "__init__.py"
    )


def _holding(assignment: Assignment, attachment: Attachment) -> IndexState:
    """Return what is indexed of an attachment; index it first when that was not done yet."""
    document = _document(attachment)
    known = assignment.library.describe([document])
    if document in known:
        return known[document]
    with workspace(assignment, [attachment]) as root:
        sources, skipped = texts_below(assignment, root)
    passages = all_passages_of(sources, attachment.filename, checkpoint=assignment.checkpoint)
    if not document.unpacked:
        # the same content may be attached under another name
        passages = [replace(passage, file="") for passage in passages]
        skipped = [{**item, "file": ""} for item in skipped]
    assignment.library.add(document, passages=passages, files=len(sources), skipped=skipped)
    return IndexState(len(sources), len(passages), skipped)


def _document(attachment: Attachment) -> Document:
    return Document(attachment.sha256, unpacked=is_archive(attachment.filename))


def _names(attachments: Sequence[Attachment]) -> list[PurePosixPath]:
    """Return the path by which each attachment, or what an archive contains, is cited."""
    return [
        PurePosixPath(folder) / ("" if is_archive(attachment.filename) else plain_name(attachment))
        for attachment, folder in zip(attachments, folders(attachments), strict=True)
    ]


def _match_summary(match: Mapping[str, Any]) -> str:
    """Return a match in one line: its place and the start of its quote."""
    quote = " ".join(match["quote"].split())
    shown = quote if len(quote) <= MAX_SUMMARY_CHARACTERS else f"{quote[:MAX_SUMMARY_CHARACTERS]}…"
    return f"{match['file']}:{match['line']} “{shown}”"


def _match(hit: Hit, names: Mapping[Document, PurePosixPath]) -> dict[str, Any]:
    passage = hit.passage
    file = passage.file if hit.document is None else (names[hit.document] / passage.file).as_posix()
    return {
        "file": file,
        "line": passage.line,
        "end_line": passage.end_line,
        "offset": passage.first_byte,
        "quote": passage.content,
        "score": round(hit.score, 4),
        "terms": hit.terms,
        "found_by": list(hit.found_by),
    }


def _unread(holding: IndexState, name: PurePosixPath) -> list[dict[str, str]]:
    return [{**item, "file": (name / item["file"]).as_posix()} for item in holding.skipped]


def passages_of(source: SourceText) -> Iterator[Passage]:
    """Yield the paragraphs of a source; long ones in pieces of MAX_LINES lines or MAX_CHARACTERS characters."""
    held: list[str] = []
    first = start = at = 0
    for number, raw in enumerate([*source.text.split("\n"), ""], start=1):
        line = raw.removesuffix("\r")
        if held and (not line.strip() or _is_full(held, line)):
            yield from _pieces(source.name, held, line=first, first_byte=start)
            held = []
        if line.strip():
            if not held:
                first, start = number, at
            held.append(line)
        at += len(raw.encode()) + 1


def all_passages_of(
    sources: Iterable[SourceText], about: str, *, checkpoint: Callable[[], None] = lambda: None
) -> list[Passage]:
    """Return the passages of all sources; more than MAX_PASSAGES raise InvalidStepInput, which names `about`."""
    passages: list[Passage] = []
    for source in sources:
        checkpoint()
        passages.extend(islice(passages_of(source), MAX_PASSAGES + 1 - len(passages)))
        if len(passages) > MAX_PASSAGES:
            raise InvalidStepInput(
                f"{about} has more than {MAX_PASSAGES} paragraphs or pieces of text: attach a smaller part of it"
            )
    return passages


def terms_of(query: str) -> list[str]:
    """Return the terms of a query without duplicates, folded: quoted phrases, then the other words."""
    included = _EXCLUDED.sub(" ", query)
    phrases = [" ".join(phrase.split()) for phrase in _QUOTED.findall(included)]
    words = [word for word in _WORD.findall(_QUOTED.sub(" ", included)) if word.casefold() != "or"]
    return list(dict.fromkeys(term.casefold() for term in [*phrases, *words] if term))


def unwanted_in(query: str) -> str:
    """Return the exclusions of a query, verbatim."""
    return " ".join(_EXCLUDED.findall(query))


def is_literal(query: str) -> bool:
    """Return whether a query has a phrase or an exclusion; then only exact words match."""
    return bool(_QUOTED.search(query) or unwanted_in(query))


def _is_full(held: list[str], line: str) -> bool:
    return len(held) == MAX_LINES or sum(map(len, held)) + len(held) + len(line) > MAX_CHARACTERS


def _pieces(file: str, lines: list[str], *, line: int, first_byte: int) -> Iterator[Passage]:
    """Yield the lines as one passage, or as several when they are too long for one."""
    text = "\n".join(lines)
    last = line + len(lines) - 1
    for start in range(0, len(text), MAX_CHARACTERS):
        piece = text[start : start + MAX_CHARACTERS]
        yield Passage(file, line, last, first_byte, piece)
        first_byte += len(piece.encode())
