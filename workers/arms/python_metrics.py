"""Parses Python files without running them, and counts their contents; call it through workers.sandbox.limited."""

import ast
import heapq
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workers.arms.text_files import NotText, python_files, read_text

MAX_LISTED = 200
MAX_COMPLEX = 10
_BRANCHES = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.comprehension,
    ast.match_case,
)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def read_package(root: Path) -> dict[str, Any]:
    """Return counts over the Python files below `root`, and at most MAX_LISTED syntax errors.

    One syntax tree at a time is in memory.
    """
    counts, errors = Counter[str](), list[dict[str, Any]]()
    complex_ones: list[dict[str, Any]] = []
    for name, path in python_files(root):
        counts["files"] += 1
        read = _measured(path)
        if "message" in read:
            counts["error_count"] += 1
            errors.extend([{"file": name, **read}] if len(errors) < MAX_LISTED else [])
            continue
        counts.update(read["counts"])
        complex_ones.extend({**one, "file": name} for one in read["most_complex"])
        complex_ones = heapq.nsmallest(MAX_COMPLEX, complex_ones, key=_rank)
    names = ("files", "error_count", "lines", "functions", "classes", "documented", "documentable")
    return {**{name: counts[name] for name in names}, "errors": errors, "most_complex": complex_ones}


def _rank(one: dict[str, Any]) -> tuple[int, str, int]:
    return -one["complexity"], one["file"], one["line"]


def _measured(path: Path) -> dict[str, Any]:
    """Return a file's counts and its most complex functions, or the place and message of its error."""
    # Python reads no UTF-16
    text = read_text(path, utf16=False)
    if isinstance(text, NotText):
        return {"line": 0, "column": 0, "message": f"not read: {text.reason}"}
    try:
        with warnings.catch_warnings(action="ignore"):
            return _counted(ast.parse(text), lines=text.count("\n") + 1)
    except SyntaxError as error:
        return {"line": error.lineno or 0, "column": error.offset or 0, "message": error.msg[:300]}
    except (RecursionError, MemoryError, ValueError):
        return {"line": 0, "column": 0, "message": "too large or too deeply nested to be parsed"}


def _counted(tree: ast.Module, *, lines: int) -> dict[str, Any]:
    nodes = list(ast.walk(tree))
    functions = [node for node in nodes if isinstance(node, _FUNCTIONS)]
    places = _documentable(tree)
    ranked = heapq.nsmallest(
        MAX_COMPLEX, ((-_complexity(node), node.lineno, node.name) for node in functions)
    )
    return {
        "counts": {
            "lines": lines,
            "functions": len(functions),
            "classes": sum(isinstance(node, ast.ClassDef) for node in nodes),
            "documented": sum(ast.get_docstring(node, clean=False) is not None for node in places),
            "documentable": len(places),
        },
        "most_complex": [
            {"name": name, "line": line, "complexity": -negative} for negative, line, name in ranked
        ],
    }


def _complexity(function: ast.AST) -> int:
    """Return McCabe's complexity: 1 plus the number of branches, without those of inner functions."""
    branches = 0
    for node in _own(function):
        branches += isinstance(node, _BRANCHES)
        branches += len(node.values) - 1 if isinstance(node, ast.BoolOp) else 0
    return 1 + branches


def _own(function: ast.AST) -> Iterator[ast.AST]:
    waiting = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, _FUNCTIONS):
            waiting.extend(ast.iter_child_nodes(node))


def _documentable(
    tree: ast.Module,
) -> list[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return the module and its public classes and functions."""
    places = [node for node in ast.walk(tree) if isinstance(node, (ast.ClassDef, *_FUNCTIONS))]
    return [tree, *(node for node in places if not node.name.startswith("_"))]
