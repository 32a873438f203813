"""Reads and writes CSV, JSON, Markdown tables and YAML; for a limited child, so it imports little."""

import csv
import io
import json
import re
from collections.abc import Mapping
from typing import Any

from orchestrator.models.errors import InvalidStepInput
from orchestrator.rules.plain_yaml import decode_yaml
from orchestrator.rules.strict_json import decode
from workers.arms.tables import MAX_CELLS, Table, decode_text, read_delimited, table_of

MAX_YAML_BYTES = 2**20
MAX_YAML_CELLS = 50_000
_INTEGER = re.compile(r"-?(?:0|[1-9]\d{0,14})")
_DECIMAL = re.compile(r"-?(?:0|[1-9]\d{0,14})\.\d{1,15}")


def converted(content: bytes, source: str, target: str, about: str) -> tuple[str, int, list[str]]:
    """Return the text in the target format, the number of rows, and warnings; raises InvalidStepInput."""
    try:
        table, value = _read(content, source, about)
    except (ValueError, RecursionError) as fault:
        raise InvalidStepInput(f"{about} is not {source}: {fault}") from fault
    warnings = table.warnings if table else []
    if target in ("csv", "markdown"):
        table = table or _table_from(value, about)
        return (_as_csv(table) if target == "csv" else _as_markdown(table)), len(table.rows), warnings
    if table:
        value = [dict(zip(table.columns, map(_typed, row), strict=True)) for row in table.rows]
    rows = len(value) if isinstance(value, list) else 1
    if target == "json":
        return json.dumps(value, ensure_ascii=False, indent=2) + "\n", rows, warnings
    if table and len(table.rows) * len(table.columns) > MAX_YAML_CELLS:
        raise InvalidStepInput(
            f"{about} has more than {MAX_YAML_CELLS:,} cells, too many for YAML: convert to JSON"
        )
    return _as_yaml(value), rows, warnings


def _read(content: bytes, source: str, about: str) -> tuple[Table | None, Any]:
    """Return the table or the JSON value of the bytes."""
    if source == "csv":
        return read_delimited(content, about), None
    if source == "json":
        return None, decode(content)
    text, _ = decode_text(content)
    if source == "markdown":
        return _markdown_table(text, about), None
    if len(content) > MAX_YAML_BYTES:
        raise InvalidStepInput(f"{about} is larger than {MAX_YAML_BYTES:,} bytes, too large for YAML")
    return None, decode_yaml(text, dates_as_text=True)


def _typed(cell: str) -> Any:
    """Return the number or the truth value that JSON would write exactly so, else the text."""
    if _INTEGER.fullmatch(cell):
        return int(cell)
    if _DECIMAL.fullmatch(cell) and repr(float(cell)) == cell:
        return float(cell)
    return {"true": True, "false": False}.get(cell, cell)


def _table_from(value: Any, about: str) -> Table:
    """Return the table of a JSON value: a list of objects, of lists or of single values, or one object."""
    items = value if isinstance(value, list) else [value]
    if not items:
        raise InvalidStepInput(f"{about} holds no table: it is empty")
    if all(isinstance(item, Mapping) for item in items):
        columns = list(dict.fromkeys(name for item in items for name in item))
        if len(columns) * len(items) > MAX_CELLS:
            raise InvalidStepInput(
                f"{about} makes a table of more than {MAX_CELLS:,} cells: convert a part of it"
            )
        rows = [columns, *([_cell(item.get(name)) for name in columns] for item in items)]
    elif all(isinstance(item, list) for item in items):
        rows = [list(map(_cell, item)) for item in items]
    elif any(isinstance(item, (Mapping, list)) for item in items):
        raise InvalidStepInput(f"{about} holds no table: its list has objects beside other values")
    else:
        rows = [["value"], *([_cell(item)] for item in items)]
    return table_of(rows, about)


def _cell(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)


def _as_csv(table: Table) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows([table.columns, *table.rows])
    return written.getvalue()


def _as_markdown(table: Table) -> str:
    lines = [table.columns, ["---"] * len(table.columns), *table.rows]
    cells = ([" ".join(cell.split()).replace("|", "\\|") for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def _as_yaml(value: Any) -> str:
    import yaml  # noqa: PLC0415 - most processes do without it

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(value, Dumper=dumper, allow_unicode=True, sort_keys=False, width=100))


def _markdown_table(text: str, about: str) -> Table:
    """Return the first table of a Markdown text."""
    lines = text.splitlines()
    for number in range(1, len(lines)):
        if "|" in lines[number - 1] and _is_rule(lines[number]):
            rows = [_cells(lines[number - 1])]
            for line in lines[number + 1 :]:
                if "|" not in line:
                    break
                rows.append(_cells(line))
            return table_of(rows, about)
    raise InvalidStepInput(f"{about} holds no table: a Markdown table has a row of --- under its header")


def _is_rule(line: str) -> bool:
    cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
    return all("-" in cell and set(cell) <= {"-", ":"} for cell in cells)


def _cells(line: str) -> list[str]:
    """Return the cells of a row; an escaped bar belongs to its cell."""
    inner = line.strip().removeprefix("|")
    inner = inner[:-1] if inner.endswith("|") and not inner.endswith("\\|") else inner
    return [cell.strip().replace("\0", "|") for cell in inner.replace("\\|", "\0").split("|")]
