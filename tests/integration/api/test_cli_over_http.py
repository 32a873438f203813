"""The octollm command against a real API and database; the test does the workers' part."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import pytest
from werkzeug.serving import make_server

from api.app import create_app
from orchestrator.auth.credential import SCOPES, sign_token, webhook_secret
from orchestrator.chord.database import transaction
from orchestrator.cli.checks import CheckStatus
from orchestrator.cli.client import ApiClient
from orchestrator.cli.doctor import check_api
from orchestrator.cli.exit_status import ExitStatus
from orchestrator.cli.progress import TaskProgress
from orchestrator.cli.watch import NoDisplay, follow
from orchestrator.memory import pools
from orchestrator.models.arm_capability import ARMS, registry_digest
from orchestrator.models.verdict import Decision
from orchestrator.safety import archive
from orchestrator.settings import Settings
from orchestrator.settings_text import Rate
from tests.integration.api.conftest import Octollm
from tests.integration.kit import TENANT, Engineer, verdict, wait_step

_PLAN = [wait_step("first"), wait_step("second", "first")]


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    """A plan of two steps, one after the other."""
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"steps": _PLAN}))
    return path


def test_a_submitted_task_is_watched_until_its_verdict(
    octollm: Octollm, engineer: Engineer, plan_file: Path
) -> None:
    limits = ("--max-tokens", "5000", "--max-cost", "0.5", "--max-time", "77", "--max-replans", "0")
    status, task_id = octollm("submit", "wait twice", "--plan", str(plan_file), "--priority", "high", *limits)
    task_id = task_id.strip()
    assert status == ExitStatus.OK
    [stored] = engineer.ask("SELECT contract -> 'budget' AS budget FROM tasks WHERE id = %(id)s", id=task_id)
    wanted = {"max_tokens": 5_000, "max_cost_dollars": "0.5", "max_time_seconds": 77, "max_replans": 0}
    assert stored["budget"] == stored["budget"] | wanted
    assert octollm("status", task_id) == (
        ExitStatus.OK,
        f"{task_id} queued: preprocessing, 0%, 0 of 0 steps; waiting for arm planner\n"
        "  The plan waits for arm planner, which no worker serves.\n",
    )

    engineer.plan(task_id)
    engineer.do(task_id, "first")
    waiting = octollm("status", task_id)[1]
    assert "processing: execution, 47%, 1 of 2 steps" in waiting
    assert "  Step second waits for arm executor, which no worker serves.\n" in waiting
    engineer.do(task_id, "second")
    engineer.judge(task_id, verdict(Decision.PASSED))
    status, output = octollm("watch", task_id)

    assert status == ExitStatus.OK
    assert "second" in output
    assert "100%  completed" in output
    assert "Verdict: passed" in output
    assert "it is so" in output


def test_a_rejected_task_exits_with_1_and_its_json_has_the_verdict(
    octollm: Octollm, engineer: Engineer
) -> None:
    task_id = engineer.start(*_PLAN)
    engineer.fail(task_id, "first")
    engineer.judge(task_id, verdict(Decision.FAILED))

    status, output = octollm("watch", task_id, "--json")

    assert status == ExitStatus.FAILED
    document = json.loads(output)
    assert document["status"] == "failed"
    assert document["verdict"]["decision"] == "failed"


def test_a_cancelled_task_exits_with_3(octollm: Octollm, engineer: Engineer) -> None:
    task_id = engineer.start(*_PLAN)

    assert octollm("cancel", task_id, "--reason", "no longer wanted") == (
        ExitStatus.OK,
        f"{task_id} cancelled\n",
    )

    assert octollm("status", task_id)[0] == ExitStatus.CANCELLED


def test_a_retry_is_a_new_task_and_lists_reused_steps(octollm: Octollm, engineer: Engineer) -> None:
    source = engineer.start(*_PLAN)
    assert octollm("retry", source)[0] == ExitStatus.REFUSED
    engineer.do(source, "first")
    engineer.do(source, "second")
    engineer.judge(source, verdict(Decision.PASSED))

    status, task_id = octollm("retry", source, "--from", "second")
    task_id = task_id.strip()
    engineer.plan(task_id)
    engineer.do(task_id, "second")
    engineer.judge(task_id, verdict(Decision.PASSED))
    output = octollm("watch", task_id)[1].splitlines()

    assert status == ExitStatus.OK
    assert [line for line in output if "first" in line and f"reused from {source}" in line]
    assert [line for line in output if "second" in line and "done in" in line]


def test_a_directory_is_attached_as_one_archive_of_its_files(
    octollm: Octollm, engineer: Engineer, server: ApiClient, plan_file: Path, tmp_path: Path
) -> None:
    package = tmp_path / "package"
    (package / "inside").mkdir(parents=True)
    (package / "inside" / "a.py").write_text("A = 1\n")

    status, output = octollm("submit", "g", "--plan", str(plan_file), "--attach", str(package), "--json")

    assert status == ExitStatus.OK
    (artifact,) = server.get(f"/v1/tasks/{json.loads(output)['task_id']}/trace")["contract"]["attachments"]
    (row,) = engineer.ask("SELECT filename, size_bytes FROM artifacts WHERE sha256 = %(id)s", id=artifact)
    assert row == {"filename": "package.tar.gz", "size_bytes": len(archive.pack(package))}


def test_a_refusal_by_the_server_names_the_field_and_exits_with_5(octollm: Octollm, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text('[{"id": "a", "arm": "nobody"}]')

    status, output = octollm("run", "a goal", "--plan", str(plan))

    assert status == ExitStatus.REFUSED
    assert "steps.0.arm" in output
    assert octollm("status", "task_0000000000000000")[0] == ExitStatus.REFUSED


def test_watching_resumes_after_the_last_event(server: ApiClient, engineer: Engineer) -> None:
    class Witness(NoDisplay):
        def __init__(self) -> None:
            self.seen: list[int] = []

        def show(self, board: TaskProgress, event: dict[str, object]) -> None:
            assert event["seq"] == board.seq
            self.seen.append(board.seq)
            if event["type"] == "step.completed" and event["data"]["step"] == "first":  # type: ignore[index]
                engineer.do(task_id, "second")
                engineer.judge(task_id, verdict(Decision.PASSED))

    task_id = engineer.start(*_PLAN)
    engineer.do(task_id, "first")
    witness = Witness()

    board = follow(server, task_id, witness)

    assert board.status == "completed"
    assert witness.seen == list(range(1, board.seq + 1))


def test_keys_are_created_listed_and_revoked(octollm: Octollm) -> None:
    _, made = octollm(
        "keys", "create", "--tenant", "acme", "--scopes", "task:read", "--expires-days", "2", "--json"
    )
    key = json.loads(made)
    assert key["key"].startswith(f"octo_live_{key['id']}_")
    assert key["scopes"] == ["task:read"]

    assert "expires" in octollm("keys", "list", "--tenant", "acme")[1]
    assert octollm("keys", "revoke", key["id"]) == (ExitStatus.OK, f"{key['id']} revoked\n")
    assert "revoked" in octollm("keys", "list")[1]
    assert octollm("keys", "revoke", "nobody")[0] == ExitStatus.FAILED


def test_migrating_twice_is_safe(octollm: Octollm) -> None:
    assert octollm("migrate")[0] == ExitStatus.OK
    assert octollm("migrate")[0] == ExitStatus.OK


def test_the_doctor_fails_without_live_workers(octollm: Octollm, server: ApiClient) -> None:
    status, output = octollm("doctor", "--port", server.url.rpartition(":")[2])

    assert status == ExitStatus.FAILED
    assert "✓ schema" in output
    assert "✓ redis memory" in output
    assert "✓ tenants" in output
    assert "✗ workers          none is alive" in output
    assert "an OctoLLM answers" in output
    assert "all is well" not in output


def test_the_doctor_warns_that_permits_are_off(
    octollm: Octollm, server: ApiClient, engineer: Engineer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transaction(engineer.engine) as conn:
        for arm in ARMS.values():
            pools.record_heartbeat(
                conn,
                pools.PoolReport(
                    node=f"{arm.arm_id}@here",
                    queue=arm.queue,
                    arm=arm.arm_id,
                    concurrency=2,
                    busy=0,
                    isolation="none",
                    version="0",
                    registry_digest=registry_digest(),
                ),
            )

    status, output = octollm("doctor", "--port", server.url.rpartition(":")[2])

    assert status == ExitStatus.OK, output
    assert "! permits          steps run without permits" in output
    assert "it works; to improve, marked with !" in output
    assert "all is well" not in output


def test_the_doctor_names_an_address_without_an_octollm(octollm: Octollm, server: ApiClient) -> None:
    status, output = octollm("doctor", "--port", "9")
    assert status == ExitStatus.FAILED
    assert "✗ api              http://127.0.0.1:9 does not answer" in output

    stranger = ApiClient(server.url, "no token of ours")
    assert [(found.status, found.subject) for found in check_api(stranger)][-1] == (
        CheckStatus.FAILURE,
        "api",
    )


def test_the_doctor_names_workers_of_another_release(
    octollm: Octollm, server: ApiClient, engineer: Engineer
) -> None:
    with transaction(engineer.engine) as conn:
        pools.record_heartbeat(
            conn,
            pools.PoolReport(
                node="coder.1@elsewhere",
                queue="arm.coder",
                arm="coder",
                concurrency=2,
                busy=0,
                isolation="none",
                version="0",
                registry_digest="another",
            ),
        )

    status, output = octollm("doctor", "--port", server.url.rpartition(":")[2])

    assert status == ExitStatus.FAILED
    assert "✗ registry         coder.1@elsewhere run with arms" in output
    assert "none is alive for executor, judge, planner" in output


def test_arms_are_listed_with_their_workers(octollm: Octollm) -> None:
    status, output = octollm("arms")

    assert status == ExitStatus.OK
    assert ["planner", "unavailable"] in [line.split()[:2] for line in output.splitlines()]


def test_a_key_has_minimal_scopes_and_an_expiry_by_default(octollm: Octollm) -> None:
    least = json.loads(octollm("keys", "create", "--tenant", "acme", "--json")[1])
    most = json.loads(
        octollm("keys", "create", "--tenant", "acme", "--scopes", "all", "--no-expiry", "--json")[1]
    )

    assert least["scopes"] == ["task:submit", "task:read", "task:cancel", "arm:list"]
    days = (datetime.fromisoformat(least["expires_at"]) - datetime.now(UTC)) / timedelta(days=1)
    assert 89.9 < days <= 90
    assert (most["scopes"], most["expires_at"]) == (list(SCOPES), None)


def test_a_key_is_rotated_with_an_overlap(octollm: Octollm) -> None:
    made = json.loads(octollm("keys", "create", "--tenant", "acme", "--scopes", "task:read", "--json")[1])

    status, text = octollm("keys", "rotate", made["id"], "--overlap-hours", "1", "--json")
    successor = json.loads(text)

    assert status == ExitStatus.OK
    assert (successor["tenant"], successor["scopes"]) == ("acme", ["task:read"])
    assert successor["id"] != made["id"]
    assert "expires" in octollm("keys", "list", "--tenant", "acme")[1]
    assert octollm("keys", "rotate", "nobody")[0] == ExitStatus.FAILED


def test_only_the_webhook_secret_is_printed(octollm: Octollm, settings: Settings) -> None:
    assert octollm("keys", "webhook-secret", "--tenant", "acme") == (
        ExitStatus.OK,
        webhook_secret(settings, "acme") + "\n",
    )


def test_a_command_waits_while_its_key_is_rate_limited(settings: Settings) -> None:
    app = create_app(replace(settings, rate_limit=Rate(2, 2)))
    listening = make_server("127.0.0.1", 0, app, threaded=True)
    thread = Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    token = sign_token(settings, tenant=TENANT, key_id="hasty", scopes=SCOPES)
    hasty = ApiClient(f"http://127.0.0.1:{listening.server_port}", token)

    answers = [hasty.post("/v1/tasks", {"goal": "do it"}) for _ in range(4)]
    listening.shutdown()
    thread.join()

    assert len({answer["task_id"] for answer in answers}) == 4


def test_a_plan_in_a_file_is_checked_without_a_task(
    octollm: Octollm, engineer: Engineer, tmp_path: Path
) -> None:
    good, bad, contract = tmp_path / "good.json", tmp_path / "bad.yaml", tmp_path / "contract.json"
    good.write_text(json.dumps({"steps": _PLAN}))
    bad.write_text("steps:\n  - id: a\n    arm: executor\n    action: fly\n    inputs: {}\n")
    contract.write_text(json.dumps({"plan": _PLAN, "budget": {"max_tokens": "x"}}, indent=1))
    before = engineer.ask("SELECT count(*) FROM tasks")

    status, output = octollm("check-plan", str(good))
    assert status == ExitStatus.OK
    assert output.splitlines() == [
        "first: executor.wait",
        "second: executor.wait after first",
        "No fault. 2 steps, 0 tokens.",
    ]
    status, output = octollm("check-plan", str(bad))
    assert status == ExitStatus.FAILED
    assert output.startswith(f"{bad}:4: /steps/0/action: must be one of")
    status, output = octollm("check-plan", str(contract), "--json")
    assert status == ExitStatus.FAILED
    assert json.loads(output)["faults"] == [{"path": "/budget/max_tokens", "message": "Not a valid integer."}]
    assert engineer.ask("SELECT count(*) FROM tasks") == before
