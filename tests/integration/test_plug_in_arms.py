"""An arm of one's own runs like a built-in one: real workers, started by the Procfile's line with ARMS=weather."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine

from orchestrator.chord.database import statement, transaction
from orchestrator.devserver.service import PROCFILE, read_procfile
from orchestrator.memory import pools
from orchestrator.models.arm_capability import ARMS, ArmCapability, registry_digest

MANIFEST = """
arm_id = "weather"
description = "Tells tomorrow's weather of a city"
worker = { module = "weather_arm", max_concurrent_tasks = 3 }

[actions.forecast]
description = "Forecasts the weather."
effects = "read"
input = { city = "string" }
"""
MODULE = """
from orchestrator.sdk import action

@action(effects="read")
def forecast(city: str) -> dict[str, str]:
    '''Forecasts the weather.'''
    return {"summary": f"sun in {city}"}
"""
# both arms offer the action, and only one has a worker
STEP = {"id": "look", "action": "forecast", "inputs": {"city": "Berlin"}}
CHECKED = {
    **STEP,
    "acceptance_criteria": [{"text": "sunny", "check": {"pointer": "/summary", "contains": "sun"}}],
}


def test_a_step_runs_end_to_end_in_a_worker_of_its_arm(
    engine: Engine, redis_url: str, tmp_path: Path
) -> None:
    arms = tmp_path / "arms"
    (arms / "weather").mkdir(parents=True)
    # its actions come from its module; those of the other arm, which no worker serves here, from its manifest
    (arms / "weather" / "arm.toml").write_text(MANIFEST.partition("[actions")[0])
    (arms / "weather" / "weather_arm.py").write_text(MODULE)
    (arms / "crm.toml").write_text(MANIFEST.replace("weather", "crm"))
    (tmp_path / ".env").write_text(f"ARMS_PATH={arms}\n")
    environ = {**os.environ, "OCTOLLM_ENV_FILE": str(tmp_path / ".env"), "LOG_LEVEL": "warning"}

    with transaction(engine) as conn:
        pools.record_heartbeat(conn, *(alive(arm) for arm in ARMS.values()))
        conn.exec_driver_sql("UPDATE pools SET seen_at = now() + interval '1 hour'")
    with (
        running(
            "exec python -m workers --arms planner,judge -c 2 -n thinking@%h", environ, log=tmp_path / "1.log"
        ),
        running(
            read_procfile()["arms"],
            {**environ, "ARMS": "weather", "HONCHO_PROCESS_NAME": "weather.1"},
            log=tmp_path / "2.log",
        ),
    ):
        seen = run_task({"steps": [CHECKED]}, environ)
        with statement(engine) as conn:
            (own,) = [pool for pool in pools.alive(conn) if pool.arm == "weather"]

    task = json.loads(seen["task"])
    assert (task["status"], task["result"]["validation_passed"]) == ("completed", True), task
    assert (own.queue, own.concurrency, own.node.partition("@")[0]) == ("arm.weather", 3, "weather.1")
    assert own.registry_digest != registry_digest()
    (listed,) = [arm for arm in json.loads(seen["arms"])["arms"] if arm["arm_id"] == "weather"]
    assert (listed["status"], listed["endpoint"], listed["metadata"]["workers"]) == (
        "healthy",
        "celery://arm.weather",
        1,
    )
    ready = json.loads(seen["ready"])
    assert (ready["ready"], ready["checks"]["workers"]["weather"], ready["checks"]["workers"]["crm"]) == (
        True,
        1,
        0,
    )
    assert "no worker serves crm, without which the system is ready, too" in ready["warnings"]
    assert "none is alive for crm" in seen["doctor"]
    assert "octollm worker --arm crm" in seen["doctor"]
    assert 'octollm_workers{arm="weather"} 1.0' in seen["metrics"]


@contextmanager
def running(command: str, environ: dict[str, str], *, log: Path) -> Iterator[None]:
    """Run one line of a Procfile until the block ends; show its output if the block fails."""
    path = os.pathsep.join([str(Path(sys.executable).parent), environ["PATH"]])
    with (
        log.open("wb") as output,
        subprocess.Popen(
            ["/bin/sh", "-c", command],
            cwd=PROCFILE.parent,
            env={**environ, "PATH": path},
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            yield
        except BaseException as error:
            error.add_note(log.read_text())
            raise
        finally:
            process.terminate()


def alive(arm: ArmCapability) -> pools.PoolReport:
    """Return the heartbeat of a worker that is not there: the system is ready without it being asked for anything."""
    return pools.PoolReport(
        node=f"{arm.arm_id}@nowhere", queue=arm.queue, arm=arm.arm_id, concurrency=1, busy=0,
        isolation="none", version="0", registry_digest=registry_digest(),
    )  # fmt: skip


def run_task(plan: dict[str, object], environ: dict[str, str]) -> dict[str, str]:
    """Run a task in a client's process of its own; return what it printed."""
    client = subprocess.run(
        [sys.executable, "-m", "tests.integration.plug_in_client", json.dumps(plan)],
        cwd=PROCFILE.parent, env=environ, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert client.returncode == 0, client.stderr
    return dict(json.loads(client.stdout.splitlines()[-1]))
