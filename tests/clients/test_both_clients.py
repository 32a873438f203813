"""The sync and the async Python client say the same, and leave nothing half-done when a call is interrupted."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest

from octollm_client import AsyncClient, Client, TaskFailed
from octollm_client.types import Status

URL = "http://127.0.0.1:1"


def _methods(client: Client | AsyncClient) -> Iterator[tuple[str, Callable[..., Any]]]:
    groups = {"": client, **{name: one for name, one in vars(client).items() if not name.startswith("_")}}
    for group, owner in groups.items():
        for name, method in inspect.getmembers(owner, inspect.ismethod):
            if not name.startswith("_") and name not in ("close", "aclose"):
                yield f"{group}.{name}", method


def _said(method: Callable[..., Any]) -> tuple[str | None, list[inspect.Parameter], str]:
    """Return what a method says about itself: its text, its parameters, and what it returns."""
    signature = inspect.signature(method)
    returned = str(signature.return_annotation).replace("AsyncIterator", "Iterator")
    return method.__doc__, list(signature.parameters.values()), returned


def test_both_clients_have_the_same_methods_with_the_same_text_and_types() -> None:
    sync = {name: _said(method) for name, method in _methods(Client(URL))}
    other = {name: _said(method) for name, method in _methods(AsyncClient(URL))}

    assert len(sync) > 60
    assert other == sync


def test_a_failed_task_has_the_code_of_its_error_not_the_kind() -> None:
    """The TypeScript client says the same."""
    error = {"type": "execution_failed", "code": "tool_failed", "message": "it failed"}
    task = cast("Status", {"task_id": "task_1", "status": "failed", "error": error})

    assert TaskFailed(task).code == "tool_failed"


def _interrupt(request: httpx2.Request) -> httpx2.Response:
    raise KeyboardInterrupt


def test_a_download_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    http = httpx2.Client(transport=httpx2.MockTransport(_interrupt))

    with pytest.raises(KeyboardInterrupt) as caught, Client(URL, token="t", http=http) as client:
        client.files.download_to("0" * 64, tmp_path / "a.txt")

    # the frames of the error are still there, and no file is
    assert caught.tb
    assert list(tmp_path.iterdir()) == []


def test_an_async_download_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        waiting = asyncio.Event()

        async def wait(request: httpx2.Request) -> httpx2.Response:
            waiting.set()
            return await asyncio.Future()

        async with AsyncClient(
            URL, token="t", http=httpx2.AsyncClient(transport=httpx2.MockTransport(wait))
        ) as client:
            task = asyncio.create_task(client.files.download_to("0" * 64, tmp_path / "a.txt"))
            await waiting.wait()
            assert len(list(tmp_path.iterdir())) == 1
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(scenario())

    assert list(tmp_path.iterdir()) == []
