"""Codes: reads Python code without running it, tries patches in the sandbox, and has a model write and explain."""

import ast
import platform
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.execution_state import StepResult
from orchestrator.wording import count_of
from workers.arms.base import ActionArm, Arm, Assignment, answer
from workers.arms.explaining import explain
from workers.arms.patching import Patcher
from workers.arms.sources import NotText, python_files, read_text, the_one, workspace
from workers.sandbox.choice import Standing

MAX_LISTED = 200
MOST_COMPLEX = 10
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


def make(standing: Standing) -> Arm:
    """Return the coder, whose patches are tried in the sandbox that stands here."""
    patcher = Patcher(standing)
    return ActionArm(
        {
            "syntax": syntax,
            "metrics": metrics,
            "apply": patcher.apply,
            "generate": patcher.propose,
            "fix": patcher.propose,
            "refactor": patcher.propose,
            "explain": explain,
        }
    )


def syntax(assignment: Assignment) -> StepResult:
    """Parse every Python file; say where one can't be parsed."""
    trees, errors = _parsed(assignment)
    checked = len(trees) + len(errors)
    summary = f"{count_of(checked, 'Python file')} parsed, {count_of(len(errors), 'error')}"
    if errors:
        summary += f": {errors[0]['file']}:{errors[0]['line']} {errors[0]['message']}"
    output = {
        "summary": summary,
        "files_checked": checked,
        "error_count": len(errors),
        "errors": errors[:MAX_LISTED],
        "python": platform.python_version(),
    }
    evidence = [{"file": error["file"], "line": error["line"]} for error in errors[:MAX_LISTED]]
    return answer(assignment, output, evidence=evidence, tools={"python": platform.python_version()})


def metrics(assignment: Assignment) -> StepResult:
    """Count lines, functions, classes, docstrings and branches."""
    trees, errors = _parsed(assignment)
    functions = [
        (name, node)
        for name, (_, tree) in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, _FUNCTIONS)
    ]
    measured = sorted(
        ((_complexity(node), name, node) for name, node in functions),
        key=lambda item: (-item[0], item[1], item[2].lineno),
    )
    places = [node for _, tree in trees.values() for node in _documentable(tree)]
    documented = sum(ast.get_docstring(node, clean=False) is not None for node in places)
    output = {
        "summary": f"{count_of(len(functions), 'function')} in {count_of(len(trees), 'parsed file')}; "
        f"{documented} of {count_of(len(places), 'place')} documented",
        "files": len(trees) + len(errors),
        "lines": sum(lines for lines, _ in trees.values()),
        "functions": len(functions),
        "classes": sum(
            isinstance(node, ast.ClassDef) for _, tree in trees.values() for node in ast.walk(tree)
        ),
        "documented": documented,
        "documentable": len(places),
        "unparsed": [error["file"] for error in errors][:MAX_LISTED],
        "most_complex": [
            {"name": node.name, "file": name, "line": node.lineno, "complexity": complexity}
            for complexity, name, node in measured[:MOST_COMPLEX]
        ],
    }
    return answer(assignment, output, tools={"python": platform.python_version()})


def _parsed(assignment: Assignment) -> tuple[dict[str, tuple[int, ast.Module]], list[dict[str, Any]]]:
    """Return {file: (lines, tree)} of what can be parsed, and an error for each file that can't."""
    trees, errors = {}, []
    with workspace(assignment, [the_one(assignment)]) as root:
        for name, path in python_files(root):
            assignment.checkpoint()
            tree = _parse(path)
            if isinstance(tree, dict):
                errors.append({"file": name, **tree})
            else:
                trees[name] = tree
    return trees, errors


def _parse(path: Path) -> tuple[int, ast.Module] | dict[str, Any]:
    # Python takes no UTF-16
    text = read_text(path, utf16=False)
    if isinstance(text, NotText):
        return {"line": 0, "column": 0, "message": f"not read: {text.reason}"}
    try:
        with warnings.catch_warnings(action="ignore"):
            return text.count("\n") + 1, ast.parse(text)
    except SyntaxError as error:
        return {"line": error.lineno or 0, "column": error.offset or 0, "message": error.msg}
    except (RecursionError, MemoryError, ValueError):
        return {"line": 0, "column": 0, "message": "too deeply nested to be parsed"}


def _complexity(function: ast.AST) -> int:
    """Return McCabe's number: 1 and one for each branch, without those of functions inside."""
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
    """Return the module and its classes and functions whose names are public."""
    places = [node for node in ast.walk(tree) if isinstance(node, (ast.ClassDef, *_FUNCTIONS))]
    return [tree, *(node for node in places if not node.name.startswith("_"))]
