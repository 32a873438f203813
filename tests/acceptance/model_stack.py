"""A stack whose only model is the scripted server."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.devserver.stack import ONE_OF_EACH, Stack
from tests.fake_llm.server import FakeLLM


@contextmanager
def asking(fake: FakeLLM, **environ: str) -> Iterator[Stack]:
    """Run one process of each kind, which ask `fake`; `environ` are further settings."""
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
            Path(folder), port=0, environ={**known, **environ}, durable=False, processes=ONE_OF_EACH
        ) as running,
    ):
        yield running
