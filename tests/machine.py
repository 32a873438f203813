"""Skips a test that needs a program which this machine lacks; in continuous integration it fails."""

import os
from typing import NoReturn

import pytest


def lacks(what: str, *, package: str = "postgresql") -> NoReturn:
    """Skip the test; fail it if CI is set, where a missing package must not hide a test."""
    if os.environ.get("CI"):
        pytest.fail(f"this machine has no {what}: install it (apt-get install {package})")
    pytest.skip(f"this machine has no {what}")
