"""Reads tables of untrusted bytes: encoding, delimiter, quotes, header; linear in their size, and bounded."""

import codecs
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from orchestrator.models.errors import InvalidStepInput
from orchestrator.models.wording import count_of

MAX_CELLS = 500_000
MAX_COLUMNS = 1_000
MAX_CELL_CHARACTERS = 128 * 1024
_DELIMITERS = (",", ";", "\t", "|")
_SAMPLED_ROWS = 20
_SAMPLE_CHARACTERS = 64 * 1024
_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class Table:
    """A table as texts: `columns` have distinct names, each row has one cell for each column."""

    columns: list[str]
    rows: list[list[str]]
    warnings: list[str] = field(default_factory=list)

    def column(self, name: str) -> list[str]:
        """Return the cells of a column."""
        index = self.columns.index(name)
        return [row[index] for row in self.rows]


def decode_text(content: bytes) -> tuple[str, str | None]:
    """Return the text of a table's or document's bytes, and a warning if its encoding had to be guessed."""
    if content.startswith(_BOMS):
        return content.decode("utf-16", "replace"), None
    try:
        return content.decode("utf-8-sig"), None
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace"), "it is not UTF-8: it was read as Windows-1252"


def read_delimited(content: bytes, about: str) -> Table:
    """Return the table in the bytes of a CSV or TSV file, whose first row names the columns.

    Short rows are filled with empty cells, long ones get columns of their own, and a warning tells. Raises
    InvalidStepInput, which names `about`, for binary files, too large tables and cells that never end.
    """
    text, warning = decode_text(content)
    if "\0" in text:
        raise InvalidStepInput(f"{about} is no table of text: it is binary")
    rows = list(_rows(text, delimiter_of(text), about))
    return table_of(rows, about, warnings=[f"{about}: {warning}"] if warning else [])


def table_of(rows: Sequence[list[str]], about: str, *, warnings: Sequence[str] = ()) -> Table:
    """Return the table of rows, the first of which names the columns; raises InvalidStepInput if there is none."""
    if not rows:
        raise InvalidStepInput(f"{about} holds no table: it is empty")
    width = max(map(len, rows))
    if width > MAX_COLUMNS or width * len(rows) > 2 * MAX_CELLS:
        raise InvalidStepInput(
            f"{about} has {width:,} columns in {len(rows):,} rows; at most {MAX_COLUMNS:,} columns and "
            f"{2 * MAX_CELLS:,} cells can be read: attach a part of it"
        )
    uneven = sum(len(row) != len(rows[0]) for row in rows[1:])
    told = f"{about}: {count_of(uneven, 'row')} with another number of cells than the first row has"
    filled = [[*row, *[""] * (width - len(row))] for row in rows]
    return Table(_names(filled[0]), filled[1:], [*warnings, *([told] if uneven else [])])


def delimiter_of(text: str) -> str:
    """Return the delimiter that divides the first rows into the same number of cells most often, and into most."""
    sample = text[:_SAMPLE_CHARACTERS]

    def score(delimiter: str) -> tuple[int, int]:
        widths = _widths(sample, delimiter)
        most = max(set(widths), key=widths.count, default=1)
        return (widths.count(most), most) if most > 1 else (0, 0)

    return max(_DELIMITERS, key=score)


def _widths(sample: str, delimiter: str) -> list[int]:
    """Return the numbers of cells of the first rows; none if a quoted cell does not end at a delimiter."""
    widths: list[int] = []
    lines = sample.splitlines(keepends=True)
    try:
        for row in islice(csv.reader(lines, delimiter=delimiter, strict=True), _SAMPLED_ROWS):
            widths += [len(row)] if row else []
    except csv.Error as error:
        # the sample may end inside of a cell
        return widths if "end of data" in str(error) else []
    return widths


def _rows(text: str, delimiter: str, about: str) -> Iterator[list[str]]:
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
    cells = 0
    try:
        for row in reader:
            cells += len(row)
            if cells > MAX_CELLS:
                raise InvalidStepInput(
                    f"{about} has more than {MAX_CELLS:,} cells: attach a part of it, or fewer columns"
                )
            if any(row):
                yield row
    except csv.Error as error:
        raise InvalidStepInput(
            f"{about} can't be read as a table: {error} in line {reader.line_num}; a quote may be missing there"
        ) from error


def _names(header: Sequence[str]) -> list[str]:
    """Return distinct names for the columns; an empty one is called by its number."""
    taken: dict[str, int] = {}
    names = []
    for number, cell in enumerate(header, start=1):
        name = " ".join(cell.split())[:200] or f"column {number}"
        taken[name] = taken.get(name, 0) + 1
        names.append(name if taken[name] == 1 else f"{name} ({number})")
    return names
