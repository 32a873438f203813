"""Writes the generated files of both clients: `make clients`, or `python -m clients.generator`."""

import os
import sys
from pathlib import Path
from typing import Any

from clients.generator.files import generated


def document() -> dict[str, Any]:
    """Return the OpenAPI document of the API of this source tree; it needs no server."""
    os.environ |= {
        "OCTOLLM_ENV_FILE": "none",
        "PROMETHEUS_MULTIPROC_DIR": "none",
        "JWT_SECRET": "of no use, but the API wants one to start; it is 32 bytes at least",
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "LOG_LEVEL": "error",
    }
    from api.app import create_app  # noqa: PLC0415 - it reads the environment
    from api.routes.docs import document_of  # noqa: PLC0415

    return document_of(create_app())


def main() -> None:
    """Write the files that differ and name them."""
    root = Path(__file__).parents[2]
    for name, text in generated(document()).items():
        path = root / name
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            sys.stdout.write(f"wrote {name}\n")
    sys.stdout.flush()
    # the app's threads look for servers that are not there
    os._exit(0)


if __name__ == "__main__":
    main()
