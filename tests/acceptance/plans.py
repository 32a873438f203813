"""Plans of clients: steps that wait, pass values on, and are checked, all without a model."""

from typing import Any

Step = dict[str, Any]


def wait(name: str, seconds: float = 0, *after: str, **more: Any) -> Step:
    """Return a step that takes `seconds`."""
    return {
        "id": name,
        "arm": "executor",
        "action": "wait",
        "inputs": {"seconds": seconds},
        "depends_on": list(after),
        **more,
    }


def collect(name: str, values: Any, *after: str, **more: Any) -> Step:
    """Return a step whose output contains `values`, with references resolved."""
    return {
        "id": name,
        "arm": "retriever",
        "action": "collect",
        "inputs": {"values": values},
        "depends_on": list(after),
        **more,
    }


def verify(name: str, value: Any, check: dict[str, Any], *, required: bool = True, **more: Any) -> Step:
    """Return a step that fails if `value` does not pass `check`."""
    inputs = {"value": value, "check": check, "required": required}
    return {"id": name, "arm": "judge", "action": "verify", "inputs": inputs, **more}


def ref(step: str, pointer: str = "") -> dict[str, str]:
    """Return a reference to an earlier step's output."""
    return {"$from": step, "pointer": pointer}
