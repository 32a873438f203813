"""A stack whose only model is the scripted server."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from orchestrator.devserver.stack import ONE_OF_EACH, Stack
from tests.fake_llm.server import FakeLLM


@contextmanager
def asking(
    fake: FakeLLM,
    environ: Mapping[str, str] | None = None,
    *,
    processes: Mapping[str, int] = ONE_OF_EACH,
    **settings: str,
) -> Iterator[Stack]:
    """Run processes, one of each kind by default, which ask `fake`; `environ` and `settings` are further settings."""
    known = {
        "DATABASE_URL": "",
        "REDIS_URL": "",
        "OPENAI_API_KEY": "k",
        "OPENAI_BASE_URL": fake.openai_url,
        "LLM_CHAIN": "openai:fake-model",
        "LOG_LEVEL": "warning",
        "GRACE_SECONDS": "3",
        "RATE_LIMIT": "100000/minute",
    }
    with (
        tempfile.TemporaryDirectory(prefix="octollm-model-") as folder,
        Stack(
            Path(folder),
            port=0,
            environ={**known, **(environ or {}), **settings},
            durable=False,
            processes=processes,
        ) as running,
    ):
        yield running
