"""Checks the links of documents: that files and headings which they name are there. Nothing is fetched."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import unescape
from pathlib import PurePosixPath
from posixpath import normpath
from typing import Any
from urllib.parse import unquote

from orchestrator.models.step_result import StepResult
from orchestrator.models.wording import count_of
from workers.arms.base import Assignment, answer
from workers.arms.sources import selected_attachments, workspace
from workers.arms.text_files import files_below, read_text

MAX_LISTED = 500
MAX_LINKS = 50_000
MAX_TEXTS_BYTES = 16 * 1024 * 1024
_MARKDOWN = (".md", ".markdown", ".mdx")
_HTML = (".html", ".htm", ".xhtml")
_INLINE = re.compile(r"\]\([ \t]{0,9}(?:<([^<>\n]{1,1000})>|([^\s()<>]{1,1000}))")
_DEFINED = re.compile(r"^ {0,3}\[[^\]\n]{1,200}\]:[ \t]{0,9}<?([^\s<>]{1,1000})")
_ATTRIBUTE = re.compile(r"""\b(?:href|src)[ \t]{0,9}=[ \t]{0,9}["']([^"'\n]{1,1000})["']""", re.IGNORECASE)
_NAMED = re.compile(r"""\b(?:id|name)[ \t]{0,9}=[ \t]{0,9}["']([^"'\n]{1,200})["']""", re.IGNORECASE)
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]{1,9}(.{1,500})")
_FENCE = re.compile(r"^ {0,3}(?:```|~~~)")
_CODE = re.compile(r"`[^`\n]{1,1000}`")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}:|//")
_LINKED = re.compile(r"!?\[([^\]\n]{0,300})\]\([^)\n]{0,1000}\)")


@dataclass(frozen=True)
class _Document:
    """A document by its name; `text` has no byte order mark."""

    name: str
    text: str

    @property
    def is_markdown(self) -> bool:
        return self.name.lower().endswith(_MARKDOWN)

    @cached_property
    def prose(self) -> list[tuple[int, str]]:
        """Return (line number, line) without blocks of code, and without code in a line."""
        lines = enumerate(self.text.splitlines(), start=1)
        if not self.is_markdown:
            return list(lines)
        kept, is_code = [], False
        for number, line in lines:
            if _FENCE.match(line):
                is_code = not is_code
            elif not is_code:
                kept.append((number, line))
        return kept

    def links(self) -> Iterator[tuple[int, str]]:
        """Yield (line number, target) of each link."""
        for number, line in self.prose:
            text = _CODE.sub("", line) if self.is_markdown else line
            if self.is_markdown:
                yield from ((number, one or other) for one, other in _INLINE.findall(text))
                yield from ((number, target) for target in _DEFINED.findall(text))
            yield from ((number, unescape(target)) for target in _ATTRIBUTE.findall(text))

    @cached_property
    def anchors(self) -> frozenset[str]:
        """Return what a link may name after #: headings as GitHub writes them, ids and names of elements."""
        found = {unescape(name) for name in _NAMED.findall(self.text)}
        seen: Counter[str] = Counter()
        for _, line in self.prose if self.is_markdown else ():
            if heading := _HEADING.match(line):
                slug = _slug(heading[1])
                found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
                seen[slug] += 1
        return frozenset(found)


def check_links(assignment: Assignment) -> StepResult:
    """Check relative links and anchors of the attached Markdown and HTML; external links are listed, not fetched."""
    with workspace(assignment, selected_attachments(assignment)) as root:
        paths = files_below(root)
        documents, skipped = _documents(paths, assignment)
    places = {name for name, _ in paths}
    places |= {str(parent) for name in places for parent in PurePosixPath(name).parents}
    broken, external, checked = [], [], 0
    for document in documents.values():
        assignment.checkpoint()
        for line, link in document.links():
            place = {"file": document.name, "line": line, "link": link}
            checked += 1
            if checked > MAX_LINKS:
                break
            if _SCHEME.match(link):
                external.append(place)
            elif message := _fault(link, document, documents, places):
                broken.append({**place, "message": f"{link}: {message}"})
    counted = min(checked, MAX_LINKS)
    output = {
        "summary": f"{count_of(counted, 'link')} in {count_of(len(documents), 'document')}: {len(broken)} broken, "
        f"{len(external)} external (not fetched)",
        "documents": len(documents),
        "links": counted,
        "broken": broken[:MAX_LISTED],
        "broken_count": len(broken),
        "external": external[:MAX_LISTED],
        "skipped": skipped[:MAX_LISTED],
    }
    evidence = [{"file": item["file"], "line": item["line"]} for item in broken[:MAX_LISTED]]
    warnings = [f"only the first {MAX_LINKS:,} links were checked"] if checked > MAX_LINKS else []
    return answer(assignment, output, evidence=evidence, warnings=warnings)


def _documents(
    paths: Sequence[tuple[str, Any]], assignment: Assignment
) -> tuple[dict[str, _Document], list[dict[str, str]]]:
    documents, skipped, size = {}, [], 0
    for name, path in paths:
        if not name.lower().endswith((*_MARKDOWN, *_HTML)):
            continue
        assignment.checkpoint()
        text = read_text(path)
        size += len(text) if isinstance(text, str) else 0
        if not isinstance(text, str) or size > MAX_TEXTS_BYTES:
            reason = (
                f"documents of more than {MAX_TEXTS_BYTES} bytes in all"
                if isinstance(text, str)
                else text.reason
            )
            skipped.append({"file": name, "reason": reason})
        else:
            documents[name] = _Document(name, text)
    return documents, skipped


def _fault(
    link: str, document: _Document, documents: Mapping[str, _Document], places: set[str]
) -> str | None:
    path, _, anchor = link.partition("#")
    path = unquote(path.partition("?")[0])
    target = document.name
    if path:
        folder = "" if path.startswith("/") else str(PurePosixPath(document.name).parent)
        target = normpath(f"{folder}/{path}".lstrip("/"))
        if target.startswith(".."):
            return "it leads out of what is attached"
        if target not in places:
            return f"there is no {target}"
    anchor = unquote(anchor)
    other = documents.get(target)
    # a line of a file (#L12) and the top of a page are no headings
    if not anchor or other is None or anchor.lower() == "top" or anchor in other.anchors:
        return None
    return f"{target} has no heading or id {anchor}"


def _slug(heading: str) -> str:
    """Return the anchor that GitHub makes of a heading: lower case, without punctuation, hyphens for spaces."""
    text = _LINKED.sub(r"\1", heading.strip().rstrip("#").rstrip()).lower()
    return "".join("-" if one == " " else one for one in text if one.isalnum() or one in " -_")
