"""A script inside the sandbox, run by `python -c`: runs pytest under coverage and writes coverage's JSON report.

Arguments: the directory to measure, the path of the report, then pytest's arguments.
"""

import sys

import coverage
import pytest


def main(root: str, report: str, *arguments: str) -> int:
    """Return pytest's exit code; writes no report when no file of `root` ran."""
    measured = coverage.Coverage(data_file=None, branch=True, source=[root], config_file=False)
    measured.start()
    code = pytest.main(list(arguments))
    measured.stop()
    measured.json_report(outfile=report, ignore_errors=True)
    return int(code)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
