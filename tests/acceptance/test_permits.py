"""In the whole product only processes that save rounds can sign permits, and a manipulated row is not run."""

from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from orchestrator import settings
from orchestrator.chord.database import statement
from orchestrator.devserver.stack import Stack
from orchestrator.process.process_kind import SECRETS
from orchestrator.settings_file import read_stack_file
from tests.acceptance.client import Client
from tests.acceptance.plans import wait
from tests.waiting import wait_until

# what a compromised arm could do with its access to the database
FORGE = (
    "UPDATE steps SET spec = jsonb_set(spec, '{inputs,seconds}', '9') WHERE task_id = %(task)s AND name = 'b'"
)


def environ_of(pid: int) -> dict[str, str]:
    """Return a process's environment."""
    pairs = (line.partition(b"=") for line in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    return {name.decode(): value.decode() for name, _, value in pairs}


def test_each_process_has_the_secrets_of_its_kind_and_its_own_login(stack: Stack) -> None:
    whole = settings.load(stack.environ)
    kinds = ("planner", "judge", "retriever", "coder", "executor", "guardian", "web", "sweeper", "webhook")

    for kind in kinds:
        pids = stack.pids(kind)
        assert pids
        for pid in pids:
            environ = environ_of(pid)
            held = {name for name in SECRETS if environ.get(name)}
            # the API also gets the tests' JWT_SECRET; this stack has no METRICS_TOKEN and no Flower
            assert held == {name for name, may in SECRETS.items() if kind in may and name in stack.environ}, (
                kind
            )
            assert environ["OCTOLLM_KIND"] == kind
            login = make_url(environ["DATABASE_URL"])
            assert login.username == f"octollm_up_{kind}"
            assert login.password not in {None, make_url(stack.database_url).password}
    assert "PERMIT_PRIVATE_KEY" not in read_stack_file(stack.home)
    assert whole.permit_public_key


def test_a_row_that_was_changed_after_it_was_saved_is_not_run(client: Client, database: Engine) -> None:
    task_id = client.submit(plan={"steps": [wait("a", 2), wait("b", 0, "a")]})
    wait_until(lambda: client.task(task_id)["steps"], 30, "the plan to be saved")

    with statement(database) as conn:
        conn.exec_driver_sql(FORGE, {"task": task_id})
    task = client.end_of(task_id)

    failed = next(event["data"] for event in client.events(task_id) if event["type"] == "step.failed")
    assert task["status"] == "failed"
    assert (failed["step"], failed["error"]["code"]) == ("b", "permit_denied")
