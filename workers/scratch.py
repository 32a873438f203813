"""Removes directories in which something ran that we don't trust."""

import os
import shutil
import stat
from pathlib import Path


def remove(directory: Path) -> None:
    """Remove a directory and all below it, also where rights were taken away."""
    try:
        shutil.rmtree(directory)
    except PermissionError:
        for parent, _, _ in os.walk(directory):
            Path(parent).chmod(stat.S_IRWXU)
            for entry in os.scandir(parent):
                if entry.is_dir(follow_symlinks=False):
                    Path(entry.path).chmod(stat.S_IRWXU)
        shutil.rmtree(directory)
