"""What the command line says about the server."""

from typing import NamedTuple


class Access(NamedTuple):
    """--url and --token; None where they were left out."""

    url: str | None
    token: str | None
