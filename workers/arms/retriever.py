"""Retrieves: what attachments hold, passages that fit a query, values of earlier steps in one place."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator.memory.documents import Document, IndexState
from orchestrator.memory.retrieval import Hit, SearchQuery
from orchestrator.models.step_result import StepResult
from orchestrator.models.task_contract import Attachment
from orchestrator.models.wording import count_of
from orchestrator.safety.archive import is_archive
from workers.arms.base import ActionArm, Arm, Assignment, answer
from workers.arms.file_tree import NotText, files_below, is_test_file, python_files, read_text
from workers.arms.passages import all_passages_of, is_literal, terms_of, unwanted_in
from workers.arms.sources import (
    chosen,
    context_source,
    folders,
    plain_name,
    texts_below,
    the_one,
    workspace,
)
from workers.arms.synthesis import synthesise
from workers.sandbox.choice import Standing

MAX_LISTED_FILES = 500
DEFAULT_LIMIT = 10
MAX_TOLD = 3
TOLD_CHARACTERS = 160
_TEST_FUNCTION = re.compile(r"^[ \t]*(?:async[ \t]+)?def[ \t]+test\w*[ \t]*\(", re.MULTILINE)


def make(_standing: Standing) -> Arm:
    """Return the retriever."""
    return ActionArm(
        {
            "inventory": inventory,
            "search": search,
            "collect": collect,
            "compare": compare,
            "answer": answer_question,
        }
    )


def inventory(assignment: Assignment) -> StepResult:
    """List an attachment's files, and the Python packages and tests among them."""
    attachment = the_one(assignment)
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
    """Find the passages that fit the query best, quoted verbatim with their places."""
    output, warnings = _found(assignment, assignment.inputs["query"])
    evidence = [{"file": match["file"], "line": match["line"]} for match in output["matches"]]
    return answer(assignment, output, evidence=evidence, warnings=_warnings(output["skipped"]) + warnings)


def answer_question(assignment: Assignment) -> StepResult:
    """Answer a question from the passages that fit it, or the query, best; needs a model."""
    assignment.require_model()
    output, warnings = _found(assignment, assignment.inputs.get("query", assignment.inputs["question"]))
    return synthesise(assignment, output["matches"], warnings=warnings)


def _found(assignment: Assignment, query: str) -> tuple[dict[str, Any], list[str]]:
    terms = terms_of(query)
    attachments = chosen(assignment)
    holdings = [_holding(assignment, attachment) for attachment in attachments]
    context = all_passages_of([context_source(assignment)], "the context") if assignment.context else []
    found, warnings = assignment.library.search(
        SearchQuery(query, terms, unwanted=unwanted_in(query), literal=is_literal(query)),
        documents=[_document(attachment) for attachment in attachments],
        given=context,
        limit=assignment.inputs.get("limit", DEFAULT_LIMIT),
    )
    names = dict(zip(map(_document, attachments), _names(attachments), strict=True))
    matches = [_match(hit, names) for hit in found.hits]
    passages = sum(holding.passages for holding in holdings) + len(context)
    skipped = [
        item
        for holding, name in zip(holdings, _names(attachments), strict=True)
        for item in _unread(holding, name)
    ]
    places = "; ".join(map(_told, matches[:MAX_TOLD])) or "nowhere"
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
    """Return the given values; their references were resolved before."""
    values = assignment.inputs["values"]
    held = f": {', '.join(list(values)[:20])}" if isinstance(values, dict) else ""
    count = len(values) if isinstance(values, (dict, list)) else 1
    return answer(assignment, {"summary": f"{count_of(count, 'value')} collected{held}", "values": values})


def compare(assignment: Assignment) -> StepResult:
    """Group values that are equal as JSON, the largest group first."""
    groups: dict[str, list[str]] = {}
    values = assignment.inputs["values"]
    for name, value in values.items():
        text = json.dumps(value, sort_keys=True, ensure_ascii=False)
        groups.setdefault(hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(), []).append(name)
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), group[1]))
    output = {
        "summary": f"{count_of(len(values), 'value')} compared, {len(groups)} distinct",
        "compared": len(values),
        "distinct": len(groups),
        "all_equal": len(groups) == 1,
        "groups": [{"names": names, "sha256": digest} for digest, names in ordered],
    }
    return answer(assignment, output)


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
    """Return what is indexed of an attachment, after indexing it if nobody did yet."""
    document = _document(attachment)
    known = assignment.library.describe([document])
    if document in known:
        return known[document]
    with workspace(assignment, [attachment]) as root:
        sources, skipped = texts_below(assignment, root)
    passages = all_passages_of(sources, attachment.filename, checkpoint=assignment.checkpoint)
    if not document.unpacked:
        # the same content may come under another name
        passages = [replace(passage, file="") for passage in passages]
        skipped = [{**item, "file": ""} for item in skipped]
    assignment.library.add(document, passages=passages, files=len(sources), skipped=skipped)
    return IndexState(len(sources), len(passages), skipped)


def _document(attachment: Attachment) -> Document:
    return Document(attachment.sha256, unpacked=is_archive(attachment.filename))


def _names(attachments: Sequence[Attachment]) -> list[PurePosixPath]:
    """Return the path that each attachment, or what is packed in it, is cited by."""
    return [
        PurePosixPath(folder) / ("" if is_archive(attachment.filename) else plain_name(attachment))
        for attachment, folder in zip(attachments, folders(attachments), strict=True)
    ]


def _told(match: Mapping[str, Any]) -> str:
    """Return a match in a line: where it is, and how its quote begins."""
    said = " ".join(match["quote"].split())
    shown = said if len(said) <= TOLD_CHARACTERS else f"{said[:TOLD_CHARACTERS]}…"
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


def _warnings(skipped: list[dict[str, str]]) -> list[str]:
    if not skipped:
        return []
    return [f"{count_of(len(skipped), 'file')} not read: {skipped[0]['file']} is {skipped[0]['reason']}"]
