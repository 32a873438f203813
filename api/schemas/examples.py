"""Bodies that the API's description shows; a test sends every one of them."""

from typing import Any

_PLAN = {
    "steps": [
        {"id": "numbers", "arm": "retriever", "action": "collect", "inputs": {"values": [1, 2]}},
        {
            "id": "pause",
            "arm": "executor",
            "action": "wait",
            "inputs": {"seconds": 0.1},
            "depends_on": ["numbers"],
        },
        {
            "id": "agree",
            "arm": "judge",
            "action": "verify",
            "depends_on": ["pause"],
            "inputs": {
                "value": {"$from": "numbers", "pointer": "/values/1"},
                "check": {"at_least": 2},
            },
        },
    ]
}

CONTRACTS: dict[str, Any] = {
    "a goal": {"goal": "Scan this text for secrets and personal data", "context": "Call me at noon."},
    "OctoLLM's Python and TypeScript clients": {
        "goal": "What do the notes say about refunds?",
        "constraints": ["Change nothing"],
        "acceptance_criteria": ["Every sum is named"],
        "context": {"notes": "Refunds of up to 20 dollars are paid at once."},
        "budget": {"max_tokens": 5000, "max_time_seconds": 60, "max_cost_dollars": 0.5},
    },
    "the other dialect": {
        "goal": 'Find "late delivery" in this text',
        "constraints": {"style": "short"},
        "context": "After a late delivery half of the price is paid back.",
        "budget": {"max_cost_usd": 0.5},
        "priority": "high",
        "metadata": {"ticket": 17},
    },
    "a plan of one's own": {
        "goal": "See that the second number is at least 2",
        "plan": _PLAN,
        "acceptance_criteria": [
            {
                "text": "The first number is 1",
                "check": {"step": "numbers", "pointer": "/values/0", "at_least": 1},
            }
        ],
        "output_schema": {"type": "object"},
    },
}
CANCELS: dict[str, Any] = {"with a reason": {"reason": "not needed any more"}}
RETRIES: dict[str, Any] = {"all that follows a step": {"from_step": "a"}}
FEEDBACK: dict[str, Any] = {"another task's result": {"verdict": "wrong_hit", "comment": "that was build 6"}}
ARMS: dict[str, Any] = {
    "for maintenance": {"arm_id": "coder", "status": "degraded", "metadata": {"until": "noon"}}
}
