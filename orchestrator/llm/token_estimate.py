"""Estimates the tokens of a call before it is made, and learns from what the provider reports afterwards.

Three figures for the input of a request, each smaller than the one before:

- `input_bound`, a hard bound: a token is at least one byte;
- `likely_input`, which no text exceeds with the tokenizers that we measured: two bytes a token for the common letters
  and the spaces among them, one byte a token for all else (docs/decisions/0021-what-a-call-reserves.md);
- ModelUsage.expected_input, the mean: what a call without reported usage is charged.
"""

import json
import threading
from collections import defaultdict
from dataclasses import dataclass, field

from orchestrator.llm.provider import ModelRequest, ModelResponse, Usage

OVERHEAD_TOKENS = 512
"""What providers add to a request: their own text for a schema, the separators between messages."""

_OVERHEAD_A_MESSAGE = 16
_TWO_A_TOKEN = b"abcdefghilmnoprstuy"
_LEAST_LEARNED_TOKENS = 200
_WEIGHT = 0.2


def input_bound(request: ModelRequest) -> int:
    """Return an upper bound of the request's tokens: a token is at least one byte of what is sent."""
    return len(_sent(request)) + _overhead(request)


def likely_input(request: ModelRequest) -> int:
    """Return more tokens than the request is likely to have, and at most `input_bound`."""
    return _likely(_sent(request)) + _overhead(request)


@dataclass
class ModelUsage:
    """What one model reported lately: means of its calls, at first of common models.

    `input_share` is the share of `likely_input` (without the overhead) that was charged; `excess` is the highest
    share, at least 1. Safe for use by several threads at once: a lost update does not matter.
    """

    input_share: float = 0.6
    excess: float = 1.0
    output_tokens: float = 1_000.0
    tokens_a_second: float = 50.0

    def learn(self, request: ModelRequest, usage: Usage, *, seconds: float) -> None:
        """Learn from the reported usage of a call; small requests and answers say too little."""
        likely = _likely(_sent(request))
        if likely >= _LEAST_LEARNED_TOKENS and usage.input_tokens:
            share = usage.input_tokens / likely
            self.input_share += _WEIGHT * (share - self.input_share)
            self.excess = max(self.excess, share)
        if usage.output_tokens and seconds > 0:
            self.output_tokens += _WEIGHT * (usage.output_tokens - self.output_tokens)
            if usage.output_tokens >= _LEAST_LEARNED_TOKENS:
                self.tokens_a_second += _WEIGHT * (usage.output_tokens / seconds - self.tokens_a_second)

    def reserved_input(self, request: ModelRequest) -> int:
        """Return `likely_input`, raised for a model that once counted more; at most `input_bound`."""
        likely = _likely(_sent(request))
        return min(round(likely * self.excess) + _overhead(request), input_bound(request))

    def expected_input(self, request: ModelRequest) -> int:
        """Return the mean number of input tokens of such a request."""
        return round(_likely(_sent(request)) * self.input_share)

    def expected_usage(
        self, request: ModelRequest, response: ModelResponse | None, *, seconds: float
    ) -> Usage:
        """Return what a call of unknown usage probably cost.

        Without a response, the model is taken to have written at its usual speed until the call ended.
        """
        if response is not None:
            output = round(_likely(_encoded(response.text)) * self.input_share)
        else:
            output = round(seconds * self.tokens_a_second)
        return Usage(self.expected_input(request), min(output, request.max_output_tokens))


@dataclass
class UsageHistory:
    """The reported usage of all models of a process, by ModelEndpoint.key."""

    _models: defaultdict[str, ModelUsage] = field(default_factory=lambda: defaultdict(ModelUsage))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, key: str) -> ModelUsage:
        """Return the usage of a model."""
        with self._lock:
            return self._models[key]


def _sent(request: ModelRequest) -> bytes:
    schema = json.dumps(request.schema, ensure_ascii=False, separators=(",", ":")) if request.schema else ""
    return _encoded("".join(message.text for message in request.messages) + schema)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _overhead(request: ModelRequest) -> int:
    return OVERHEAD_TOKENS + _OVERHEAD_A_MESSAGE * len(request.messages)


def _likely(content: bytes) -> int:
    letters = len(content) - len(content.translate(None, _TWO_A_TOKEN))
    # in a script without these letters a space may be a token
    return len(content) - (letters + min(content.count(b" "), letters)) // 2
