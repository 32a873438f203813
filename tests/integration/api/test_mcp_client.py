"""The official MCP client, unmodified, uses the tools over HTTP, with versions of both kinds."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult
from sqlalchemy import Engine

from orchestrator.models.verdict import Decision
from tests.integration.api.conftest import make_key
from tests.integration.api.live_server import Api
from tests.integration.kit import Engineer, verdict, wait_step

T = TypeVar("T")
Session = Callable[[Callable[[Client], Awaitable[T]]], T]
NAMES = [
    "submit_task",
    "get_task",
    "cancel_task",
    "retry_task",
    "explain_task",
    "list_arms",
    "decide_approval",
]
PLAN = {"steps": [wait_step("a")]}


def use(api: Api, key: str, work: Callable[[Client], Awaitable[T]], *, mode: str = "auto") -> T:
    """Connect with an API key, do the work, and disconnect."""

    async def session() -> T:
        async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=40) as http:
            transport = streamable_http_client(f"{api.url}/mcp", http_client=http)
            async with Client(transport, mode=mode) as client:
                return await work(client)

    return asyncio.run(session())


@pytest.mark.parametrize(
    ("mode", "version"), [("auto", "2026-07-28"), ("2026-07-28", "2026-07-28"), ("legacy", "2025-11-25")]
)
def test_a_task_is_submitted_and_its_result_read(
    api: Api, engine: Engine, engineer: Engineer, mode: str, version: str
) -> None:
    async def work(client: Client) -> tuple[list[str], CallToolResult, CallToolResult]:
        assert client.session.protocol_version == version
        tools = await client.list_tools()
        made = await client.call_tool("submit_task", {"goal": "Wait a little", "plan": PLAN})
        task_id = made.structured_content["task_id"]
        await asyncio.to_thread(finish, engineer, task_id)
        done = await client.call_tool("get_task", {"task_id": task_id, "wait": 30})
        return [tool.name for tool in tools.tools], made, done

    names, made, done = use(api, make_key(engine)[1], work, mode=mode)

    assert names == NAMES
    assert not made.is_error
    assert done.structured_content["status"] == "completed"
    assert done.structured_content["result"]["validation_passed"] is True


def finish(engineer: Engineer, task_id: str) -> None:
    engineer.plan(task_id)
    engineer.do(task_id, "a", output={"summary": "waited"})
    engineer.judge(task_id, verdict(Decision.PASSED))


@pytest.mark.parametrize(("mode", "version"), [("auto", "2026-07-28"), ("legacy", "2025-11-25")])
def test_the_command_mcp_serves_a_host_over_stdio(
    api: Api, engine: Engine, engineer: Engineer, mode: str, version: str
) -> None:
    command = StdioServerParameters(
        command=str(Path(sys.executable).with_name("octollm")),
        args=["mcp"],
        env={**os.environ, "OCTOLLM_URL": api.url, "OCTOLLM_TOKEN": make_key(engine)[1]},
    )

    async def session() -> tuple[str, list[str], CallToolResult, CallToolResult]:
        async with Client(command, mode=mode) as client:
            tools = await client.list_tools()
            made = await client.call_tool("submit_task", {"goal": "Wait a little", "plan": PLAN})
            unknown = await client.call_tool("get_task", {"task_id": "task_0000000000000000"})
            return client.session.protocol_version, [tool.name for tool in tools.tools], made, unknown

    spoken, names, made, unknown = asyncio.run(session())

    assert (spoken, names) == (version, NAMES)
    assert engineer.task(made.structured_content["task_id"]).status == "queued"
    assert unknown.is_error
