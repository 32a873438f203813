"""The bases of the generated groups of methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from octollm_client import _flows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from octollm_client._call import Call
    from octollm_client.async_client import AsyncRunner
    from octollm_client.client import Runner


class Group:
    """A group of methods of a client."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def _call(self, call: Call, **given: Any) -> Any:
        return self._runner.run(self._runner.session.call(call.given(**given)))

    def _iterate(self, call: Call, *, items: str, **given: Any) -> Iterator[Any]:
        return self._runner.iterate(_flows.pages(self._runner.session, call.given(**given), items))


class AsyncGroup:
    """A group of methods of an async client."""

    def __init__(self, runner: AsyncRunner) -> None:
        self._runner = runner

    async def _call(self, call: Call, **given: Any) -> Any:
        return await self._runner.run(self._runner.session.call(call.given(**given)))

    def _iterate(self, call: Call, *, items: str, **given: Any) -> AsyncIterator[Any]:
        return self._runner.iterate(_flows.pages(self._runner.session, call.given(**given), items))
