"""The settings of models: which are asked for which work, where they are reached, and what they may cost."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.models.endpoint import Endpoint, fault_of_use, parse_key, parse_url, read_endpoints
from orchestrator.models.model_choice import (
    PROVIDERS,
    ModelName,
    Price,
    default_models,
    parse_bodies,
    parse_chain,
    parse_embeddings,
    parse_limits,
    parse_prices,
)
from orchestrator.models.model_work import (
    CHAIN_SETTINGS,
    ModelPreferences,
    Work,
    parse_efforts,
    parse_output_tokens,
)
from orchestrator.settings_text import one_of, parse_seconds, setting


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The part of a process' settings that concerns models."""

    openai_api_key: str | None = setting(parse_key, default=None, secret=True)
    anthropic_api_key: str | None = setting(parse_key, default=None, secret=True)
    openai_base_url: str | None = setting(parse_url, default=None, secret=True)
    anthropic_base_url: str | None = setting(parse_url, default=None, secret=True)
    llm_endpoints: Mapping[str, Endpoint] | None = setting(read_endpoints, default=None)
    llm_chain: tuple[ModelName, ...] = setting(parse_chain, default=())
    planner_models: tuple[ModelName, ...] = setting(parse_chain, default=())
    writer_models: tuple[ModelName, ...] = setting(parse_chain, default=())
    coder_models: tuple[ModelName, ...] = setting(parse_chain, default=())
    judge_models: tuple[ModelName, ...] = setting(parse_chain, default=())
    llm_output_tokens: Mapping[Work, int] | None = setting(parse_output_tokens, default=None)
    llm_effort: Mapping[Work, str] | None = setting(parse_efforts, default=None)
    embeddings: ModelName | None = setting(parse_embeddings, default=None)
    llm_timeout_seconds: float = setting(parse_seconds, default=120.0)
    planning_timeout_seconds: float = setting(parse_seconds, default=180.0)
    judging_timeout_seconds: float = setting(parse_seconds, default=180.0)
    plan_hints: str = setting(one_of("on", "off"), default="on")
    llm_flavour: str = setting(one_of("auto", "openai", "openai-compatible"), default="auto")
    llm_stream: str = setting(one_of("on", "off"), default="on")
    plan_streaming: str = setting(one_of("on", "off"), default="on")
    llm_rpm: Mapping[str, int] | None = setting(parse_limits, default=None)
    llm_tpm: Mapping[str, int] | None = setting(parse_limits, default=None)
    llm_prices: Mapping[str, Price] | None = setting(parse_prices, default=None)
    llm_extra_body: Mapping[str, Mapping[str, Any]] | None = setting(parse_bodies, default=None)

    def unreachable_models(self) -> Iterator[str]:
        """Yield what is wrong with the settings that name models, one message for each name that can't be used."""
        named = {
            (chain.upper(), model.provider)
            for chain in ("llm_chain", *CHAIN_SETTINGS)
            for model in getattr(self, chain)
        }
        if self.embeddings:
            named.add(("EMBEDDINGS", self.embeddings.provider))
        for chain, name in sorted(named):
            if fault := fault_of_use(self.endpoint(name), name, embeds=chain == "EMBEDDINGS"):
                yield f"{chain} names {name}{fault}"

    def endpoint(self, name: str) -> Endpoint | None:
        """Return a provider, with its own settings, or an endpoint of LLM_ENDPOINTS; None for another name."""
        if name not in PROVIDERS:
            return (self.llm_endpoints or {}).get(name)
        return Endpoint(
            name=name,
            protocol=name,
            url=getattr(self, f"{name}_base_url"),
            key=f"{name.upper()}_API_KEY",
            api_key=getattr(self, f"{name}_api_key"),
            capabilities=self._openai_capabilities() if name == "openai" else {},
        )

    def _openai_capabilities(self) -> Mapping[str, bool]:
        is_compatible = self.llm_flavour == "openai-compatible"
        if is_compatible or (self.llm_flavour == "auto" and self.openai_base_url):
            return {"max_completion_tokens": False}
        return {"max_completion_tokens": True}

    @property
    def models(self) -> tuple[ModelName, ...]:
        """The models to ask, the first choice first: LLM_CHAIN, else the registry's default for each API key.

        Without either, the models that are set for some kind of work also do the others.
        """
        defaults = tuple(
            ModelName(name, default_models()[name]) for name in PROVIDERS if getattr(self, f"{name}_api_key")
        )
        return (
            self.llm_chain
            or defaults
            or next(filter(None, (getattr(self, name) for name in CHAIN_SETTINGS)), ())
        )

    @property
    def all_models(self) -> tuple[ModelName, ...]:
        """All models that may be asked for any kind of work."""
        chains = (self.models, *(getattr(self, name) for name in CHAIN_SETTINGS))
        return tuple(dict.fromkeys(model for chain in chains for model in chain))

    @property
    def preferences(self) -> ModelPreferences:
        """What the operator chose by kind of work."""
        chains = {
            work: getattr(self, name)
            for name, works in CHAIN_SETTINGS.items()
            for work in works
            if getattr(self, name)
        }
        return ModelPreferences(
            self.llm_output_tokens or {}, self.llm_effort or {}, chains, default=self.models
        )
