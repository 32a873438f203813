"""Calls an action's function with a step's inputs, in an event loop if it is async, and returns its output."""

import asyncio
import json
from collections.abc import Coroutine, Mapping
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from orchestrator.sdk.context import Context
from orchestrator.sdk.contracts import WRAPPED, FunctionAction
from orchestrator.sdk.errors import InvalidInputs, InvalidOutput

POLL_SECONDS: Final = 0.1
"""How often it is looked whether an async function must stop."""
GRACE_SECONDS: Final = 5.0
"""How long an async function may clean up after it was cancelled."""
_CHOSEN: Final = ("attachment", "attachments")
_MAX_SHOWN: Final = 5


def call(action: FunctionAction, inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Return the output for inputs that match the action's input schema.

    Raises what the function raises, InvalidInputs before it is called, InvalidOutput afterwards, and what
    `context.checkpoint` raises. An async function is cancelled when the context is; another one ends by itself.
    """
    arguments = _arguments(action, inputs)
    if action.context_name:
        arguments[action.context_name] = context
    try:
        value = action.function(**arguments)
        if asyncio.iscoroutine(value):
            value = _run(_without_exit(value), context)
    except SystemExit as error:
        raise _exited(error) from error
    return _output(action, value)


def messages_of(error: ValidationError) -> list[dict[str, str]]:
    """Return {field, message} of each fault, without the values."""
    return [
        {"field": ".".join(map(str, fault["loc"])), "message": fault["msg"]}
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def _arguments(action: FunctionAction, inputs: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in inputs.items() if name not in _CHOSEN}
    try:
        # in JSON mode strict types accept what JSON has for them: a text for a date
        return dict(action.inputs.validate_json(json.dumps(given)))
    except ValidationError as error:
        raise InvalidInputs(messages_of(error)) from error


def _output(action: FunctionAction, value: Any) -> dict[str, Any]:
    try:
        checked = action.output.validate_python(value)
        written = action.output.dump_python(checked, mode="json", by_alias=True, warnings="error")
        json.dumps(written, allow_nan=False)
    except ValidationError as error:
        shown = [f"{one['field'] or 'it'}: {one['message']}" for one in messages_of(error)[:_MAX_SHOWN]]
        raise InvalidOutput(
            f"{action.name} returned something else than its type says: {'; '.join(shown)}"
        ) from error
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise InvalidOutput(
            f"{action.name} returned a value that JSON can't hold: a number that is not finite, or an object of a type "
            "that its hint does not name"
        ) from error
    return {WRAPPED: written} if action.is_wrapped else dict(written)


def _run(coroutine: Coroutine[Any, Any, Any], context: Context) -> Any:
    """Run a coroutine in a loop of its own, which does not outlive it: asyncio.run would wait for what never ends."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(_watched(coroutine, context))
    finally:
        if left := asyncio.all_tasks(loop):
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.wait(left, timeout=GRACE_SECONDS))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _exited(error: SystemExit) -> RuntimeError:
    return RuntimeError(f"it called sys.exit({error.code!r:.100})")


async def _without_exit(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Await a coroutine; asyncio lets a SystemExit through and complains that nobody took it from the task."""
    try:
        return await coroutine
    except SystemExit as error:
        raise _exited(error) from error


async def _watched(coroutine: Coroutine[Any, Any, Any], context: Context) -> Any:
    task = asyncio.create_task(coroutine)
    while not task.done() and not context.cancelled:
        await asyncio.wait({task}, timeout=max(0.0, min(POLL_SECONDS, context.seconds_left)))
    if not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=GRACE_SECONDS)
        context.checkpoint()
    if task.cancelled():
        raise RuntimeError("the function was cancelled, and not by its attempt")
    return task.result()
