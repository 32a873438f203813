"""Reads the named SQL statements that lie in a `.sql` file beside a module."""

import re
from pathlib import Path

_NAME = re.compile(r"^-- name: (\w+)[^\n]*$", re.MULTILINE)


def load(module_file: str) -> dict[str, str]:
    """Return {name: statement} of the `.sql` file beside `module_file` (pass `__file__`).

    A statement starts at a line `-- name: some_name` and ends at the next one; psycopg2's pyformat
    parameters, `%(name)s`. Raises FileNotFoundError when there is no such file, ValueError when a name
    stands twice.
    """
    text = Path(module_file).with_suffix(".sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)[1:]
    names = parts[0::2]
    if len(set(names)) != len(names):
        raise ValueError(f"{module_file}: a statement's name stands twice in its .sql file: {sorted(names)}")
    return {
        name: f"-- {name}\n{_without_comments(body)}" for name, body in zip(names, parts[1::2], strict=True)
    }


def _without_comments(body: str) -> str:
    """Drop comment lines: a `%` or a quote in prose must not reach the driver's formatting."""
    return "\n".join(line for line in body.strip().splitlines() if not line.lstrip().startswith("--"))
