"""The counters of a real prefork pool survive the children that counted."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import wait_until

_TASKS = 40
_COMMAND = [
    "-A",
    "tests.integration.metric_app",
    "worker",
    "-P",
    "prefork",
    "-c",
    "2",
    "--max-tasks-per-child",
    "4",
]
_SCRAPE = (
    "import sys; from orchestrator.observability import metric; sys.stdout.buffer.write(metric.exposition())"
)
_SEND = "from tests.integration.metric_app import count; [count.delay() for _ in range({})]"


@pytest.mark.slow
def test_a_recycling_pool_counts_every_task_in_few_files(redis_url: str, tmp_path: Path) -> None:
    environment = {**os.environ, "REDIS_URL": redis_url, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", *_COMMAND, "--without-mingle", "--without-gossip"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def is_counted() -> bool:
        text = subprocess.check_output([sys.executable, "-c", _SCRAPE], env=environment, text=True)
        return f'octollm_swept_total{{kind="test"}} {_TASKS}.0' in text.splitlines()

    try:
        subprocess.run([sys.executable, "-c", _SEND.format(_TASKS)], env=environment, check=True)
        wait_until(is_counted, 60, f"{_TASKS} tasks to be counted", every=0.5)
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)

    # the parent, two children, and those that overlap with their successors; ten children counted
    assert len(list(tmp_path.glob("counter_slot-*.db"))) <= 6
