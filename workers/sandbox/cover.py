"""Runs inside the sandbox, as `python -c` of this file: pytest under coverage, whose report goes where it is told.

Arguments: the directory to measure, the report's path, then pytest's own.
"""

import sys

import coverage
import pytest


def main(root: str, report: str, *arguments: str) -> int:
    """Return pytest's exit code; nothing is reported when no file of `root` was run."""
    measured = coverage.Coverage(data_file=None, branch=True, source=[root], config_file=False)
    measured.start()
    code = pytest.main(list(arguments))
    measured.stop()
    measured.json_report(outfile=report, ignore_errors=True)
    return int(code)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
