"""Renders the Markdown of our own texts as HTML: headings, paragraphs, lists, code, bold and links; all text is escaped."""

import re
from collections.abc import Iterator

from markupsafe import Markup, escape

_INLINE = re.compile(r"`([^`\n]+)`|\*\*([^*\n]+)\*\*|\[([^\[\]\n]+)\]\(([^()\s]+)\)")
_SAFE_LINK = re.compile(r"https?://|[#/](?!/)")
_FENCE = "```"


def render(text: str) -> Markup:
    """Return the HTML of a text; its headings are one level lower than it says, since the page has one above."""
    return Markup("\n").join(_html(kind, lines) for kind, lines in _blocks(iter(text.splitlines())))


def _blocks(lines: Iterator[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield (kind, lines) of each block: text, list (a line for each item), heading or code."""
    kind, block = "", list[str]()
    for line in lines:
        found = _kind(line, kind)
        if found == "more":
            block[-1] += f" {line.strip()}"
            continue
        if block and (found != kind or found == "heading"):
            yield kind, block
            block = []
        kind = found
        if kind == "code":
            yield kind, list(iter(lambda: next(lines, _FENCE), _FENCE))
        elif kind:
            block.append(line.strip())
    if block:
        yield kind, block


def _kind(line: str, before: str) -> str:
    """Return the kind of the block that a line begins or continues; "" for an empty line."""
    if before == "list" and line.startswith("  "):
        return "more"
    if line.startswith(_FENCE):
        return "code"
    if line.startswith("- "):
        return "list"
    if line.startswith("#"):
        return "heading"
    return "text" if line.strip() else ""


def _html(kind: str, lines: list[str]) -> Markup:
    match kind:
        case "code":
            return Markup('<pre tabindex="0"><code>{}</code></pre>').format("\n".join(lines))
        case "list":
            items = Markup("").join(Markup("<li>{}</li>").format(inline(line[2:])) for line in lines)
            return Markup("<ul>{}</ul>").format(items)
        case "heading":
            title = lines[0].lstrip("#")
            level = min(6, 1 + len(lines[0]) - len(title))
            return Markup("<h{0}>{1}</h{0}>").format(level, inline(title.strip()))
        case _:
            return Markup("<p>{}</p>").format(inline(" ".join(lines)))


def inline(text: str) -> Markup:
    """Return one line's HTML; a link to anything but http, a path of ours or an anchor stays text."""
    parts, end = [], 0
    for found in _INLINE.finditer(text):
        parts.append(escape(text[end : found.start()]))
        parts.append(_inline(found))
        end = found.end()
    return Markup("").join([*parts, escape(text[end:])])


def _inline(found: re.Match[str]) -> Markup:
    code, strong, shown, link = found.groups()
    if code is not None:
        return Markup("<code>{}</code>").format(code)
    if strong is not None:
        return Markup("<strong>{}</strong>").format(strong)
    if not _SAFE_LINK.match(link):
        return escape(found.group())
    return Markup('<a href="{}" rel="noreferrer">{}</a>').format(link, shown)
