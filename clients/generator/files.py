"""All generated files of the clients."""

import subprocess
import sys
from collections.abc import Mapping

from clients.generator import typescript
from clients.generator.operations import Document
from clients.generator.python_methods import calls_module, methods_module
from clients.generator.python_problems import problems_module
from clients.generator.python_types import types_module

_PYTHON = "clients/python/octollm_client"
_TYPESCRIPT = "clients/typescript/lib"


def generated(document: Document) -> Mapping[str, str]:
    """Return {path in the repository: text} of every generated file."""
    python = {
        f"{_PYTHON}/types.py": types_module(document),
        f"{_PYTHON}/problems.py": problems_module(document),
        f"{_PYTHON}/_calls.py": calls_module(document),
        f"{_PYTHON}/_methods.py": methods_module(document, is_async=False),
        f"{_PYTHON}/_async_methods.py": methods_module(document, is_async=True),
    }
    javascript = {
        f"{_TYPESCRIPT}/types.d.ts": typescript.types_module(document),
        f"{_TYPESCRIPT}/problems.js": typescript.problems_module(document),
        f"{_TYPESCRIPT}/problems.d.ts": typescript.problem_types(document),
        f"{_TYPESCRIPT}/table.js": typescript.operations_module(document),
        f"{_TYPESCRIPT}/operations.d.ts": typescript.operation_types(document),
    }
    return {**{path: _formatted(text, path) for path, text in python.items()}, **javascript}


def _formatted(text: str, path: str) -> str:
    for command in (("check", "--fix-only", "--quiet"), ("format",)):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", path, "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
        )
        text = done.stdout
    return text
