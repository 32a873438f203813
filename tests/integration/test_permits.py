"""Steps are stored with permits, and arms run no step without one."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest
import structlog
from sqlalchemy import Engine

from orchestrator.bootstrap import WorkerProcess
from orchestrator.chord.database import transaction
from orchestrator.memory import files
from orchestrator.memory.claims import Claim
from orchestrator.memory.hints import Hints
from orchestrator.models import signing_key
from orchestrator.models.arm_capability import ARMS
from orchestrator.models.step_result import ResultStatus
from orchestrator.models.verdict import Decision
from orchestrator.queue.app import make_app
from orchestrator.settings import Settings
from tests.integration.attempt_kit import run_step
from tests.integration.kit import TENANT, Engineer, verdict, wait_step
from workers.attempt.context import AttemptContext
from workers.runtime import startup_checks

KEY = signing_key.new_private_key()
# numbers that jsonb changes
ODD = {"seconds": 0.0}
SOURCE = b"def test_nothing(): pass\n"


@pytest.fixture
def signer(engine: Engine, our_settings: Settings) -> Engineer:
    """An engineer who signs permits and whose arms require them."""
    public = signing_key.public_key_of(KEY)
    return Engineer(engine, replace(our_settings, permit_private_key=KEY, permit_public_key=public))


def attempted(engineer: Engineer, claim: Claim) -> Any:
    """Run a claimed step like a worker, without the private key."""
    settings = replace(engineer.settings, permit_private_key=None)
    process = WorkerProcess(
        settings=settings,
        engine=engineer.engine,
        hints=Hints(settings.redis_url),
        app=make_app(lambda: settings),
        owner="me",
    )
    return run_step(AttemptContext.of(process, claim))


def test_a_step_with_a_valid_permit_runs(signer: Engineer) -> None:
    task = signer.start(wait_step("a", inputs=ODD, timeout_seconds=1e1))

    result = attempted(signer, signer.take(task, "a"))

    assert result.status is ResultStatus.DONE, result.error


def test_a_failed_step_reports_its_sandbox_too(signer: Engineer) -> None:
    tests = {"id": "a", "arm": "executor", "action": "tests", "inputs": {}, "depends_on": []}
    with transaction(signer.engine) as conn:
        files.put(conn, TENANT, filename="a.py", media_type="text/x-python", content=SOURCE)
    task = signer.start(tests, attachments=(hashlib.sha256(SOURCE).hexdigest(),))

    result = attempted(signer, signer.take(task, "a"))

    assert result.error is not None
    assert result.error["code"] == "sandbox_unavailable"
    assert {**result.provenance, "milliseconds": 0} == {
        "arm": "executor",
        "action": "tests",
        "version": ARMS["executor"].version,
        "isolation": "none",
        "milliseconds": 0,
    }


@pytest.mark.parametrize(
    "forgery",
    [
        "UPDATE steps SET spec = jsonb_set(spec, '{inputs,seconds}', '3') WHERE name = 'a'",
        "UPDATE steps SET spec = spec - 'permit' WHERE name = 'a'",
        "UPDATE steps SET spec = jsonb_set(spec, '{timeout_seconds}', '3600') WHERE name = 'a'",
        "UPDATE steps SET spec = (SELECT spec FROM steps WHERE name = 'b') WHERE name = 'a'",
        "UPDATE steps SET spec = jsonb_set(spec, '{permit}', (SELECT spec -> 'permit' FROM steps WHERE name = 'b')) "
        "WHERE name = 'a'",
        "UPDATE steps SET spec = jsonb_set(spec, '{permit,tools}', '[\"pytest\"]') WHERE name = 'a'",
        "UPDATE steps SET spec = jsonb_set(spec, '{permit,seconds}', '3600') WHERE name = 'a'",
        "UPDATE steps SET spec = jsonb_set(spec, '{permit,path}', '\"\"') WHERE name = 'a'",
        "UPDATE steps SET spec = jsonb_set(spec, '{action}', '\"tests\"') WHERE name = 'a'",
        "UPDATE tasks SET tenant = 'another'",
    ],
)
def test_a_row_that_was_changed_after_saving_does_not_run(forgery: str, signer: Engineer) -> None:
    task = signer.start(wait_step("a"), wait_step("b"))
    signer.ask(forgery)

    result = attempted(signer, signer.take(task, "a"))

    assert result.error is not None
    assert (result.error["code"], result.error["retryable"]) == ("permit_denied", False)


def test_the_permit_of_another_task_or_round_does_not_count(signer: Engineer) -> None:
    other = signer.start(wait_step("a"), wait_step("b"))
    task = signer.start(wait_step("a", repair_inputs={}))
    signer.ask(f"UPDATE steps SET spec = (SELECT spec FROM steps WHERE name = 'a' AND task_id = '{other}') "
               f"WHERE name = 'a' AND task_id = '{task}'")  # fmt: skip

    of_another_task = attempted(signer, signer.take(task, "a"))

    assert of_another_task.error["code"] == "permit_denied"
    assert "another task" in of_another_task.error["message"]


def test_a_round_is_signed_once_and_its_permits_grow_slowly(signer: Engineer) -> None:
    task = signer.start(*(wait_step(f"s{number}") for number in range(33)))

    permits = [signer.row(task, f"s{number}")["spec"]["permit"] for number in range(33)]

    assert len({held["round"] for held in permits}) == 1
    assert max(len(held["path"]) for held in permits) <= 4 * 32 * 6 / 3


def test_a_repair_round_has_its_own_permits(signer: Engineer) -> None:
    task = signer.start(wait_step("a", repair_inputs={"seconds": 0.25}))
    signer.do(task, "a")
    first = signer.row(task, "a")["spec"]["permit"]
    signer.judge(task, verdict(Decision.FAILED, a="again, please"))
    claim = signer.take(task, "a")

    result = attempted(signer, claim)
    of_the_first_round = attempted(signer, replace(claim, spec={**claim.spec, "permit": first}))

    assert result.output["seconds"] >= 0.25
    assert "another round" in of_the_first_round.error["message"]


def test_without_keys_steps_run_without_permits(engineer: Engineer) -> None:
    task = engineer.start(wait_step("a"))

    result = attempted(engineer, engineer.take(task, "a"))

    assert result.status is ResultStatus.DONE
    assert "permit" not in engineer.row(task, "a")["spec"]


@pytest.mark.parametrize(
    ("queue", "keys", "told"),
    [
        ("arm.coder", {}, "PERMIT_PUBLIC_KEY is not set"),
        ("arm.coder", {"PERMIT_PUBLIC_KEY": signing_key.public_key_of(KEY)}, None),
        ("planner", {"PERMIT_PUBLIC_KEY": signing_key.public_key_of(KEY)}, "PERMIT_PRIVATE_KEY is not set"),
        ("judge", {"PERMIT_PUBLIC_KEY": signing_key.public_key_of(KEY), "PERMIT_PRIVATE_KEY": KEY}, None),
    ],
)
def test_a_worker_without_its_keys_logs_once_how_to_make_them(
    queue: str,
    keys: dict[str, str],
    told: str | None,
    our_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, key in keys.items():
        monkeypatch.setenv(name, key)
    app = make_app(lambda: our_settings)
    app.amqp.queues.select([queue])

    with structlog.testing.capture_logs() as logs:
        startup_checks.warn_without_permits(app)

    warnings = [item for item in logs if item["event"] == "permit.keys_missing"]
    assert len(warnings) == (told is not None)
    assert all(str(told) in item["reason"] and "octollm up" in item["mend"] for item in warnings)
