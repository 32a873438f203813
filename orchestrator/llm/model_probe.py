"""Tests a model with one small question, and remembers what its server supports and how fast it is."""

import time
from collections.abc import MutableMapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from orchestrator.llm import model_chain
from orchestrator.llm.capabilities import Facts, LearnedFacts, model_key
from orchestrator.llm.completion import CallRecord, CompletionRequest
from orchestrator.llm.gate import FallbackGate
from orchestrator.llm.prompt import Role, compose, trusted
from orchestrator.models.errors import StepError
from orchestrator.models.model_choice import ModelName
from orchestrator.models.model_work import CHAIN_SETTINGS, Work
from orchestrator.settings import Settings

_SCHEMA = {
    "type": "object",
    "properties": {"months": {"type": "array", "items": {"type": "string"}}},
    "required": ["months"],
    "additionalProperties": False,
}
_QUESTION = [
    compose(Role.SYSTEM, trusted("You answer with JSON.")),
    compose(Role.USER, trusted("Which are the twelve months of the year?")),
]


def key_of(settings: Settings, name: ModelName) -> str:
    """Return the key of what is known about a model of the settings."""
    endpoint = settings.endpoint(name.provider)
    return model_key(name.provider, name.model, url=endpoint.address if endpoint else "")


def probe(
    settings: Settings, name: ModelName, *, learned: LearnedFacts, environ: MutableMapping[str, str]
) -> Facts:
    """Ask one model, forget what was known about it, and return what is known now; `test` is ok or an error's code."""
    key, records = key_of(settings, name), list[CallRecord]()
    no_chains: dict[str, Any] = dict.fromkeys(CHAIN_SETTINGS, ())
    learned.forget(key)
    models = model_chain.open_models(
        replace(settings, llm_chain=(name,), **no_chains),
        gate=FallbackGate(),
        observe=records.append,
        environ=environ,
        learned=learned,
    )
    deadline = time.monotonic() + settings.llm_timeout_seconds
    try:
        answer = models.complete(
            CompletionRequest(_QUESTION, "models.test@1.0.0", Work.EXPLAIN, deadline, _SCHEMA)
        )
    except StepError as error:
        outcome = {"test": error.code, "detail": error.message}
    else:
        outcome = {"test": "ok", "detail": "", answer.response_format.value: "yes"}
    finally:
        models.close()
    tested_at = datetime.now(UTC).isoformat(timespec="seconds")
    learned.learn(key, {**outcome, **_speed(records), "tested_at": tested_at})
    return learned.of(key)


def _speed(records: list[CallRecord]) -> dict[str, str]:
    """Return the speed of the last call that succeeded; tokens a second are counted from the first text on."""
    call = next((record for record in reversed(records) if record.outcome == "ok"), None)
    if call is None:
        return {}
    found = {"seconds": f"{call.seconds:.2f}", "reports_usage": "yes" if call.usage else "no"}
    if call.first_text_seconds is not None:
        found["first_text_seconds"] = f"{call.first_text_seconds:.2f}"
    writing = call.seconds - (call.first_text_seconds or 0.0)
    if call.usage and writing > 0:
        found["tokens_per_second"] = f"{call.usage.output_tokens / writing:.1f}"
    return found
