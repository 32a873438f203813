"""On the whole product only who saves rounds can sign permits, and a row that was changed is not done."""

from pathlib import Path

from sqlalchemy import Engine

from orchestrator import settings
from orchestrator.devstack.stack import Stack
from orchestrator.settings_file import read_stack_file
from orchestrator.store.engine import statement
from tests.acceptance.client import Client
from tests.acceptance.plans import wait
from tests.waiting import wait_until

# what an arm that was taken over might do with its access to the database
FORGE = (
    "UPDATE steps SET spec = jsonb_set(spec, '{inputs,seconds}', '9') WHERE task_id = %(task)s AND name = 'b'"
)


def key_of(pid: int) -> str:
    """Return the private key in a process' environment."""
    pairs = (line.partition(b"=") for line in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    return {name: value for name, _, value in pairs}.get(b"PERMIT_PRIVATE_KEY", b"").decode()


def test_only_planners_and_judges_hold_the_key_that_signs(stack: Stack) -> None:
    kinds = ("planner", "judge", "retriever", "coder", "executor", "guardian", "web", "sweeper")

    holders = {kind for kind in kinds if any(key_of(pid) for pid in stack.pids(kind))}

    assert holders == {"planner", "judge"}
    assert "PERMIT_PRIVATE_KEY" not in read_stack_file(stack.home)
    assert settings.load(stack.environ).permit_public_key


def test_a_row_that_was_changed_after_it_was_saved_is_not_done(client: Client, database: Engine) -> None:
    task_id = client.submit(plan={"steps": [wait("a", 2), wait("b", 0, "a")]})
    wait_until(lambda: client.task(task_id)["steps"], 30, "the plan to be saved")

    with statement(database) as conn:
        conn.exec_driver_sql(FORGE, {"task": task_id})
    task = client.end_of(task_id)

    failed = next(event["data"] for event in client.events(task_id) if event["type"] == "step.failed")
    assert task["status"] == "failed"
    assert (failed["step"], failed["error"]["code"]) == ("b", "permit_denied")
