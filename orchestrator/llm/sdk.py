"""What both providers' SDKs are asked by: within one deadline, whole or as a stream, their errors turned into ours."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

from orchestrator.llm import fault
from orchestrator.llm.interface import Answer, Query
from orchestrator.llm.transport import sending


class Client(Protocol):
    """An SDK's client."""

    def close(self) -> None:
        """Close the connections."""
        ...


class SdkProvider(ABC):
    """A provider reached by its SDK; may be used by several threads at once."""

    name: str
    sdk_error: type[Exception]

    def __init__(
        self,
        client: Client,
        *,
        base_url: str,
        is_streaming: bool = False,
        extra_body: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.base_url = base_url
        self._connections = client
        self._is_streaming = is_streaming
        self._extra_body = extra_body or {}

    def ask(self, query: Query, model: str) -> Answer:
        """Return the model's whole answer before the query's deadline; raises ModelError and nothing else."""
        left = query.deadline - time.monotonic()
        if left <= 0:
            raise fault.late(provider=self.name, model=model)
        with sending() as is_sent:
            try:
                request = self._request(query, model) | {"timeout": left}
                return self._streamed(request) if self._is_streaming else self._whole(request)
            except (self.sdk_error, *fault.CAUGHT) as error:
                raise fault.translate(error, provider=self.name, model=model, was_sent=is_sent()) from None

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()

    @abstractmethod
    def _request(self, query: Query, model: str) -> dict[str, Any]:
        """Return the parameters of the SDK's call, but for the timeout."""

    @abstractmethod
    def _whole(self, request: dict[str, Any]) -> Answer:
        """Ask for the answer in one piece."""

    def _streamed(self, request: dict[str, Any]) -> Answer:
        """Ask for the answer as a stream, where there are streams."""
        return self._whole(request)
