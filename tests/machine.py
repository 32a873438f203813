"""What a test does where the machine lacks a server of its own: it is left out, but for continuous integration."""

import os
from typing import NoReturn

import pytest


def lacks(what: str) -> NoReturn:
    """Leave the test out; where CI is set fail it, since nothing may go untested there for want of a package."""
    if os.environ.get("CI"):
        pytest.fail(f"this machine has no {what}: install it (apt-get install postgresql)")
    pytest.skip(f"this machine has no {what}")
