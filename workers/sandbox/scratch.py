"""Removes directories in which something ran that we don't trust."""

import shutil
import subprocess
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)


def remove(directory: Path) -> None:
    """Remove a directory and all below it, also where rights were taken away or it is thousands deep.

    What can't be removed is logged and stays: the step's outcome does not depend on it.
    """
    try:
        shutil.rmtree(directory)
    except (OSError, RecursionError):
        # neither follows links, and neither recurses
        for words in (["chmod", "-R", "u+rwX"], ["rm", "-rf"]):
            subprocess.run([*words, "--", str(directory)], check=False, capture_output=True)
        if directory.exists():
            log.error("scratch.not_removed", directory=str(directory))
