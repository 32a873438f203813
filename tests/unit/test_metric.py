"""The metrics of all processes are reported together, and short-lived processes do not leave many files."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

# a parent that, like a prefork pool, keeps two children alive and replaces them; gunicorn's workers and
# thread pools are the simpler case of a long-lived process
_POOL = """
import os
from orchestrator.observability import metric

metric.swept("parent")
for generation in range(3):
    children = []
    ready, go = os.pipe(), os.pipe()
    for child in range(2):
        pid = os.fork()
        if pid == 0:
            metric.swept("begin")
            os.write(ready[1], b".")
            os.read(go[0], 1)
            for _ in range(10):
                metric.arm_invoked("coder", "done", 0.2)
            os._exit(0)
        children.append(pid)
    for _ in children:
        os.read(ready[0], 1)
    os.write(go[1], b"..")
    for pid in children:
        os.waitpid(pid, 0)
metric.swept("parent")
"""
_THREADS = """
from concurrent.futures import ThreadPoolExecutor
from orchestrator.observability import metric

with ThreadPoolExecutor(8) as pool:
    for _ in range(50):
        pool.submit(metric.arm_invoked, "coder", "done", 0.2)
"""
_SCRAPE = """
import sys
from orchestrator.observability import metric
sys.stdout.buffer.write(metric.exposition())
"""


def _start(script: str, directory: Path | None) -> subprocess.Popen[str]:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory) if directory else "none"}
    return subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True
    )


def _run(script: str, directory: Path | None) -> str:
    process = _start(script, directory)
    answer, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return answer


def _samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_recycled_children_continue_the_counters_of_dead_ones(tmp_path: Path) -> None:
    _run(_POOL, tmp_path)

    found = _samples(_run(_SCRAPE, tmp_path))

    assert found["octollm_arm_invocations_total", "coder", "done"] == 60
    assert found["octollm_arm_duration_seconds_count", "coder"] == 60
    assert found["octollm_swept_total", "begin"] == 6
    assert found["octollm_swept_total", "parent"] == 2


def test_there_are_as_many_files_as_processes_ran_at_once(tmp_path: Path) -> None:
    for _ in range(3):
        _run(_POOL, tmp_path)

    files = sorted(path.name for path in tmp_path.glob("counter_*.db"))
    assert files == [f"counter_slot-{number}.db" for number in range(3)]


def test_pools_of_threads_and_of_processes_share_one_directory(tmp_path: Path) -> None:
    running = [_start(script, tmp_path) for script in (_POOL, _THREADS, _POOL)]

    for process in running:
        process.communicate(timeout=60)

    found = _samples(_run(_SCRAPE, tmp_path))
    assert found["octollm_arm_invocations_total", "coder", "done"] == 60 + 50 + 60


def test_outcomes_that_never_happened_are_zero(tmp_path: Path) -> None:
    found = _samples(_run(_SCRAPE, tmp_path))

    assert found["octollm_tasks_total", "critical", "completed"] == 0
    assert found["octollm_tasks_total", "low", "failed"] == 0
    assert found["octollm_verdicts_total", "inconclusive"] == 0
    assert found["octollm_repairs_total",] == 0
    assert found["octollm_leases_expired_total",] == 0
    assert found["octollm_cache_wrong_hits_total", "alias"] == 0
    assert found["octollm_cache_judge_calls_total", "different"] == 0


def test_processes_share_the_state_directory_by_default(tmp_path: Path) -> None:
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": "", "OCTOLLM_HOME": str(tmp_path / "home")}
    counted = "from orchestrator.observability import metric; metric.swept('found')"
    subprocess.run([sys.executable, "-c", counted], env=environ, check=True, timeout=60)

    told = subprocess.check_output([sys.executable, "-c", _SCRAPE], env=environ, text=True, timeout=60)

    assert _samples(told)["octollm_swept_total", "found"] == 1
    assert list((tmp_path / "home" / "metrics").glob("counter_slot-*.db"))


def test_metrics_are_per_process_if_the_state_directory_is_not_writable(
    tmp_path: Path,
) -> None:
    (tmp_path / "home").touch()
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": "", "OCTOLLM_HOME": str(tmp_path / "home")}

    told = subprocess.check_output([sys.executable, "-c", _SCRAPE], env=environ, text=True, timeout=60)

    assert _samples(told)["octollm_repairs_total",] == 0


def test_metrics_are_per_process_if_sharing_is_off() -> None:
    happened = "from orchestrator.observability import metric; metric.task_ended('failed', 'high', 2.0)\n"

    found = _samples(_run(happened + _SCRAPE, None))

    assert found["octollm_tasks_total", "high", "failed"] == 1
    assert found["octollm_task_duration_seconds_bucket", "2.5"] == 1


def test_model_calls_are_counted_with_usage_and_cost() -> None:
    happened = """
from decimal import Decimal
from orchestrator.llm.completion import CallRecord, Usage
from orchestrator.observability import metric
spent = Usage(1000, 50, cached_tokens=200)
metric.model_attempted(CallRecord("openai", "m", "ok", True, 0.4, spent, Decimal("0.25"), breaker="closed"))
metric.model_attempted(CallRecord("openai", "m", "open", False, breaker="open"))
"""

    found = _samples(_run(happened + _SCRAPE, None))

    assert found["octollm_llm_requests_total", "m", "ok", "openai"] == 1
    assert found["octollm_llm_requests_total", "m", "open", "openai"] == 1
    assert found["octollm_llm_tokens_total", "input", "m", "openai"] == 800
    assert found["octollm_llm_tokens_total", "cached_input", "m", "openai"] == 200
    assert found["octollm_llm_cost_dollars_total", "m", "openai"] == 0.25
    assert found["octollm_llm_seconds_count", "m", "openai"] == 1
    assert found["octollm_llm_breaker_state", "m", "openai"] == 2


def test_a_breakers_state_is_the_latest_of_any_process(tmp_path: Path) -> None:
    seen = """
from orchestrator.llm.completion import CallRecord
from orchestrator.observability import metric
metric.model_attempted(CallRecord("openai", "m", "x", False, breaker="{}"))
"""
    for state in ("open", "half_open"):
        _run(seen.format(state), tmp_path)

    found = _samples(_run(_SCRAPE, tmp_path))

    assert found["octollm_llm_breaker_state", "m", "openai"] == 1


def test_two_installations_on_one_machine_do_not_mix(tmp_path: Path) -> None:
    told = {}
    for name in ("one", "two"):
        environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": "", "OCTOLLM_HOME": str(tmp_path / name)}
        counted = f"from orchestrator.observability import metric; metric.swept('{name}')\n"
        told[name] = subprocess.check_output(
            [sys.executable, "-c", counted + _SCRAPE], env=environ, text=True, timeout=60
        )

    assert ("octollm_swept_total", "one") in _samples(told["one"])
    assert ("octollm_swept_total", "one") not in _samples(told["two"])


def test_files_of_dead_processes_of_another_release_are_removed_and_those_of_living_ones_are_not(
    tmp_path: Path,
) -> None:
    _run("from orchestrator.observability import metric; metric.swept('dead')", tmp_path)
    (tmp_path / "slot-0.lock").write_text("0.0.9")
    # releases before slots named the files after process ids
    (tmp_path / "counter_slot-0.db").rename(tmp_path / "counter_4711.db")
    (tmp_path / "gauge_max_slot-0.db").write_bytes(b"")
    (tmp_path / "slot-1.lock").write_text("0.0.9")
    (tmp_path / "counter_slot-1.db").write_bytes(b"")
    with (tmp_path / "slot-1.lock").open("r+") as living:
        fcntl.lockf(living, fcntl.LOCK_EX)

        found = _samples(_run(_SCRAPE, tmp_path))

    assert ("octollm_swept_total", "dead") not in found
    assert found["octollm_repairs_total",] == 0
    assert not (tmp_path / "counter_4711.db").exists()
    assert not (tmp_path / "gauge_max_slot-0.db").exists()
    assert (tmp_path / "counter_slot-1.db").exists()


def test_a_process_that_died_as_it_made_its_file_does_not_break_the_scrape(tmp_path: Path) -> None:
    release = _run(
        "from orchestrator.observability.multiprocess import _release; print(_release(), end='')", tmp_path
    )
    (tmp_path / "slot-5.lock").write_text(release)
    (tmp_path / "counter_slot-5.db").touch()

    found = _samples(_run(_SCRAPE, tmp_path))

    assert found["octollm_repairs_total",] == 0


@pytest.mark.parametrize(
    ("named", "outcome"),
    [(True, "SettingsError: metrics can't be shared in "), (False, "metrics.not_shared")],
)
def test_a_named_directory_that_cant_be_written_is_an_error_and_the_default_one_a_warning(
    tmp_path: Path, named: bool, outcome: str
) -> None:
    (tmp_path / "file").touch()
    environ = {
        **os.environ,
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "file" / "metrics") if named else "",
        "OCTOLLM_HOME": str(tmp_path / "file"),
    }
    start = "from orchestrator import bootstrap; bootstrap.refuse_metrics_directory()"

    ended = subprocess.run(
        [sys.executable, "-c", start], env=environ, text=True, timeout=60, check=False, capture_output=True
    )

    assert (ended.returncode != 0) == named
    assert outcome in ended.stdout + ended.stderr
    assert "let this user write there" in ended.stdout + ended.stderr
