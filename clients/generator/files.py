"""All generated files of the clients."""

import subprocess
import sys
from collections.abc import Mapping

from clients.generator.operations import Document
from clients.generator.python_methods import methods_module
from clients.generator.python_problems import problems_module
from clients.generator.python_types import types_module

_PYTHON = "clients/python/octollm_client"


def generated(document: Document) -> Mapping[str, str]:
    """Return {path in the repository: text} of every generated file."""
    python = {
        f"{_PYTHON}/types.py": types_module(document),
        f"{_PYTHON}/problems.py": problems_module(document),
        f"{_PYTHON}/_methods.py": methods_module(document, is_async=False),
        f"{_PYTHON}/_async_methods.py": methods_module(document, is_async=True),
    }
    return {path: _formatted(text, path) for path, text in python.items()}


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
