"""Assertions on the response members that OctoLLM's published clients parse."""

import re
from datetime import datetime
from typing import Any

from werkzeug.test import TestResponse

_TASK_ID = re.compile(r"task_[a-zA-Z0-9]{16}")
_NUMBER = (int, float)


def assert_status(body: dict[str, Any]) -> None:
    """Assert that a body is a valid task status, in any state."""
    assert _TASK_ID.fullmatch(body["task_id"])
    assert body["status"] in {"queued", "processing", "completed", "failed", "cancelled"}
    assert body["priority"] in {"low", "medium", "high", "critical"}
    assert isinstance(body["goal"], str)
    assert isinstance(body["steps"], list)
    _assert_progress(body["progress"])
    is_final = body["status"] in {"completed", "failed", "cancelled"}
    assert (body["metadata"] is not None) == is_final
    assert (body["error"] is not None) == (body["status"] in {"failed", "cancelled"})
    if body["metadata"]:
        _assert_metadata(body["metadata"])
    if body["result"]:
        _assert_result(body["result"])
    if body["error"]:
        _assert_error(body["error"])
    for name in ("created_at", "updated_at"):
        assert_time(body[name])
    assert (body["completed_at"] is not None) == (body["status"] == "completed")
    assert (body["failed_at"] is not None) == (body["status"] == "failed")
    assert isinstance(body["processing_time_ms"], int) == is_final


def assert_problem(answer: TestResponse, status: int, code: str) -> dict[str, Any]:
    """Assert that a response is this problem, and return its body."""
    body = answer.get_json(force=True)
    assert (answer.status_code, body["code"]) == (status, code), body
    assert answer.mimetype == "application/problem+json"
    assert body["status"] == status
    assert body["message"] == body["detail"] != ""
    assert isinstance(body["type"], str)
    assert isinstance(body["title"], str)
    assert isinstance(body["details"], dict)
    assert isinstance(body["retryable"], bool)
    assert type(body["retry_after"]) is int
    assert body["request_id"] == answer.headers["X-Request-ID"]
    # the endpoints in OpenAI's shape, and no others, add {type, param}
    is_openai = answer.request.path.startswith(("/v1/responses", "/v1/models"))
    added = ("type", "param") if is_openai else ()
    inner = {name: value for name, value in body["error"].items() if name not in added}
    assert inner == {"code": code, "message": body["message"], "details": body["details"]}
    assert ("Retry-After" in answer.headers) == body["retryable"]
    return dict(body)


def assert_time(text: str) -> None:
    """Assert that a text is an RFC 3339 time in UTC."""
    assert text.endswith("Z")
    assert datetime.fromisoformat(text).tzinfo is not None


def _assert_progress(progress: dict[str, Any]) -> None:
    steps = {"preprocessing", "planning", "execution", "validation", "synthesis"}
    assert progress["current_step"] in steps
    for name in ("completed_steps", "total_steps", "percentage"):
        assert type(progress[name]) is int
    assert 0 <= progress["percentage"] <= 100


def _assert_metadata(metadata: dict[str, Any]) -> None:
    assert all(isinstance(arm, str) for arm in metadata["arms_used"])
    assert type(metadata["tokens_used"]) is int
    assert metadata["cost_dollars"] is None or isinstance(metadata["cost_dollars"], _NUMBER)
    assert isinstance(metadata["duration_seconds"], _NUMBER)
    assert isinstance(metadata["cache_hit"], bool)
    assert type(metadata["repairs"]) is int
    assert "plan_id" in metadata


def _assert_result(result: dict[str, Any]) -> None:
    assert isinstance(result["output"], str)
    assert result["confidence"] is None or 0 <= result["confidence"] <= 1
    assert isinstance(result["validation_passed"], bool)
    assert isinstance(result["artifacts"], list)
    assert isinstance(result["warnings"], list)
    assert isinstance(result["partial"], bool)
    assert "data" in result


def _assert_error(error: dict[str, Any]) -> None:
    assert isinstance(error["type"], str)
    assert isinstance(error["code"], str)
    assert isinstance(error["message"], str)
    assert error["details"] is None or isinstance(error["details"], str)
    assert isinstance(error["retryable"], bool)
