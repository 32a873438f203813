"""What models can do at most: context window, output limit, and whether they take an effort."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from orchestrator.models.endpoint import Endpoint
from orchestrator.models.model_choice import PROVIDERS, ModelName
from orchestrator.models.model_work import ROOMS, Work
from orchestrator.registry.sources import REGISTRY

UNKNOWN_OUTPUT_TOKENS = 4_096
"""The output limit of a model that is not known: servers reject more than fits into their context window."""
UNKNOWN_CONTEXT_TOKENS = 8_192
LEAST_INPUT_TOKENS = 500
_PROMPT_TOKENS = 1_500
"""Our prompts with their schemas, and what providers add to them."""
_GROWTH = 4


@dataclass(frozen=True)
class ModelLimits:
    """A model's limits in tokens, None where they are not known; `has_effort`: it reasons as long as it is told to."""

    context_tokens: int | None = None
    output_tokens: int | None = None
    has_effort: bool = False


def limits_of(name: ModelName, endpoint: Endpoint | None = None) -> ModelLimits:
    """Return the limits that an endpoint of LLM_ENDPOINTS states for its models, else those of the registry.

    In the registry the first pattern that matches provider:model counts.
    """
    if endpoint is not None and endpoint.name not in PROVIDERS:
        has_effort = endpoint.capabilities.get("effort", False)
        return ModelLimits(endpoint.context_window, endpoint.output_limit, has_effort)
    found = next((limits for pattern, limits in _patterns().items() if fnmatchcase(str(name), pattern)), None)
    return (
        ModelLimits(found["context"], found["output"], found.get("effort", False)) if found else ModelLimits()
    )


def output_limit(work: Work, limits: ModelLimits, *, chosen: int | None = None) -> int:
    """Return the output limit of a call: the operator's, else the usual one, but at most what the model can do.

    A model of which only the context window is known may fill half of it.
    """
    half = limits.context_tokens // 2 if limits.context_tokens else UNKNOWN_OUTPUT_TOKENS
    wanted = chosen or min(ROOMS[work].usual, limits.output_tokens or half)
    return min(wanted, limits.output_tokens or wanted)


def input_room(work: Work, limits: ModelLimits, *, chosen: int | None = None) -> int:
    """Return the tokens of a question that the context window leaves beside the answer and our own prompt."""
    context = limits.context_tokens or UNKNOWN_CONTEXT_TOKENS
    return max(context - output_limit(work, limits, chosen=chosen) - _PROMPT_TOKENS, LEAST_INPUT_TOKENS)


def larger_limit(output_tokens: int, limits: ModelLimits) -> int:
    """Return the output limit to try after an answer was cut at `output_tokens`: the same if the model has no more."""
    return min(_GROWTH * output_tokens, max(limits.output_tokens or _GROWTH * output_tokens, output_tokens))


@cache
def _patterns() -> Mapping[str, Mapping[str, Any]]:
    patterns: Mapping[str, Mapping[str, Any]] = json.loads((REGISTRY / "models.json").read_text("utf-8"))[
        "limits"
    ]
    return patterns
