"""Arms that run tools: real ruff, real pytest, real processes, and nothing left of them."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from orchestrator.archive import pack
from orchestrator.errors import InvalidStepInput, SandboxUnavailable, StepCancelled, ToolFailed, ToolTimeout
from orchestrator.execution_state import Decision, StepResult, StepState
from orchestrator.planner.recipe import plan_by_recipe
from orchestrator.planner.references import resolve
from orchestrator.task_contract import Contract
from tests.unit.arm_kit import assignment, attachment_of, run
from tests.waiting import wait_until
from workers.arms.base import Assignment, CancelToken
from workers.arms.judge import RoundView, judge_round
from workers.tool_run import Limits
from workers.tool_run import run as run_tool

SAMPLE = Path(__file__).parents[2] / "examples" / "sample_package"
FAILING_TEST = "def test_planted():\n    assert 1 + 1 == 3\n"


def packed(place: Path, **files: str) -> dict[str, bytes]:
    place.mkdir()
    for name, text in files.items():
        (place / f"{name}.py").write_text(text)
    return {"code.tar.gz": pack(place)}


def sample(tmp_path: Path, **more: str) -> bytes:
    """Pack the shipped example, with more test files put in."""
    copy = tmp_path / "sample"
    copy.mkdir()
    for path in SAMPLE.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            target = copy / path.relative_to(SAMPLE)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    for name, text in more.items():
        (copy / "tests" / f"{name}.py").write_text(text)
    return pack(copy)


def audit(content: bytes) -> tuple[RoundView, dict[str, StepResult]]:
    """Plan an audit by its recipe and let every arm do its steps, one after the other."""
    attached = attachment_of(content, "package.tar.gz")
    contract = Contract(goal="Audit this Python package", attachments=(attached.sha256,))
    plan = plan_by_recipe(contract, [attached])
    results: dict[str, StepResult] = {}
    for step in plan.steps:
        inputs = resolve(step.inputs, {name: result.output for name, result in results.items()})
        given = assignment(step.arm, step.action, inputs, files={"package.tar.gz": content})
        results[step.id] = run(given, trusted=True)
    return RoundView(contract, plan, results, dict.fromkeys(results, StepState.DONE), 1), results


def test_the_shipped_example_passes_its_audit(tmp_path: Path) -> None:
    view, results = audit(sample(tmp_path))

    verdict = judge_round(view)

    assert verdict.decision is Decision.PASSED, verdict.output
    assert results["tests"].output["passed"] == 28
    assert results["tests"].provenance["tools"]["pytest"]
    assert "[tests] 28 tests: 28 passed" in verdict.output


def test_a_copy_with_a_failing_test_is_rejected_with_that_test_as_evidence(tmp_path: Path) -> None:
    view, results = audit(sample(tmp_path, test_planted=FAILING_TEST))

    verdict = judge_round(view)

    assert verdict.decision is Decision.FAILED
    assert set(verdict.faulty) == {"tests"}
    assert "No test fails" in verdict.faulty["tests"]
    assert [failure["test"] for failure in results["tests"].output["failures"]] == [
        "tests/test_planted.py::test_planted"
    ]
    assert results["report"].output["values"]["tests_failed"] == 1


def test_code_that_nobody_vouched_for_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    files = packed(tmp_path / "code", test_a=f"open({str(mark)!r}, 'w')\n")

    for action in ("lint", "tests"):
        with pytest.raises(SandboxUnavailable, match="EXECUTOR_TRUSTED_SHA256"):
            run(assignment("executor", action, files=files))

    assert not mark.exists()


def test_lint_findings_have_code_and_place_and_count(tmp_path: Path) -> None:
    files = packed(
        tmp_path / "code", good="A = 1\n", bad="import os\nimport sys\n\n\ndef f(x=[]):\n    return x\n"
    )

    output = run(assignment("executor", "lint", files=files), trusted=True).output

    assert output["by_code"] == {"B006": 1, "F401": 2}
    assert {(item["file"], item["line"], item["code"]) for item in output["findings"]} == {
        ("bad.py", 1, "F401"),
        ("bad.py", 2, "F401"),
        ("bad.py", 5, "B006"),
    }


def test_the_attachment_s_own_configuration_can_not_silence_the_linter(tmp_path: Path) -> None:
    place = tmp_path / "code"
    place.mkdir()
    (place / "bad.py").write_text("import os\n")
    (place / "ruff.toml").write_text('exclude = ["*"]\n')
    (place / "ruff.py").write_text("raise SystemExit(0)\n")

    output = run(assignment("executor", "lint", files={"a.tgz": pack(place)}), trusted=True).output

    assert output["finding_count"] == 1


@pytest.mark.parametrize(
    ("source", "counts"),
    [
        ("def test_a():\n    pass\n", (1, 0, 0, 0, 0)),
        ("def test_a():\n    assert 0\n\ndef test_b():\n    pass\n", (1, 1, 0, 0, 1)),
        ("import nowhere_to_be_found\n", (0, 0, 1, 0, 2)),
        ("import pytest\n\n@pytest.mark.skip\ndef test_a():\n    pass\n", (0, 0, 0, 1, 0)),
        ("x = 1\n", (0, 0, 0, 0, 5)),
    ],
)
def test_a_run_of_tests_is_reported_as_it_was(source: str, counts: tuple[int, ...], tmp_path: Path) -> None:
    files = packed(tmp_path / "code", test_a=source)

    output = run(assignment("executor", "tests", files=files), trusted=True).output

    assert tuple(output[name] for name in ("passed", "failed", "errors", "skipped", "exit_code")) == counts


def test_tests_that_kill_pytest_are_a_failed_tool_not_a_pass(tmp_path: Path) -> None:
    files = packed(tmp_path / "code", test_a="import os\n\ndef test_a():\n    os._exit(0)\n")

    with pytest.raises(ToolFailed, match="pytest ended with exit code 0 and no usable report"):
        run(assignment("executor", "tests", files=files), trusted=True)


def test_a_tool_sees_nothing_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET", "not-for-tools")
    source = "import os\n\ndef test_a():\n    assert 'JWT_SECRET' not in os.environ, os.environ\n"

    output = run(
        assignment("executor", "tests", files=packed(tmp_path / "code", test_a=source)), trusted=True
    ).output

    assert output["passed"] == 1, output


@pytest.mark.parametrize("paths", [["../outside"], ["a/../../x"], ["nothing"], ["-x"]])
def test_a_path_must_lie_in_the_attachment(paths: list[str], tmp_path: Path) -> None:
    files = packed(tmp_path / "code", test_a="x = 1\n")

    with pytest.raises(InvalidStepInput):
        run(assignment("executor", "tests", {"paths": paths}, files=files), trusted=True)


def test_waiting_takes_its_time_and_stops_when_told_or_too_late() -> None:
    token = CancelToken()
    started = time.monotonic()

    output = run(assignment("executor", "wait", {"seconds": 0.2})).output
    with pytest.raises(ToolTimeout):
        run(assignment("executor", "wait", {"seconds": 30}, seconds=0.1))
    threading.Timer(0.1, token.set).start()
    with pytest.raises(StepCancelled):
        run(assignment("executor", "wait", {"seconds": 30}, cancelled=token))

    assert 0.2 <= output["seconds"] < 2
    assert time.monotonic() - started < 5


def sleeper(place: Path) -> tuple[list[str], Path]:
    """A tool that starts a child of its own, writes both numbers down, and sleeps."""
    note = place / "numbers"
    script = f"echo $$ > {note}.new; sleep 60 & echo $! >> {note}.new; mv {note}.new {note}; wait"
    return ["/bin/sh", "-c", script], note


def is_alive(number: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def in_tool(argv: list[str], given: Assignment, place: Path, **limits: int) -> object:
    return run_tool(
        argv, given, directory=place, environment={"PATH": "/usr/bin:/bin"}, limits=Limits(**limits)
    )


@pytest.mark.parametrize("end", ["deadline", "cancel"])
def test_a_tool_and_its_children_die_with_their_step(end: str, tmp_path: Path) -> None:
    argv, note = sleeper(tmp_path)
    token = CancelToken()
    given = assignment("executor", "tests", seconds=1.0 if end == "deadline" else 60.0, cancelled=token)
    if end == "cancel":
        threading.Thread(
            target=lambda: (wait_until(note.exists, timeout=10, what="note"), token.set())
        ).start()

    with pytest.raises(ToolTimeout if end == "deadline" else StepCancelled):
        in_tool(argv, given, tmp_path)

    numbers = [int(line) for line in note.read_text().split()]
    assert len(numbers) == 2
    wait_until(lambda: not any(map(is_alive, numbers)), timeout=5, what="the tool and its child to be gone")


def test_a_tool_dies_with_its_worker(tmp_path: Path) -> None:
    note = tmp_path / "number"
    script = f"""
from pathlib import Path
from tests.unit.arm_kit import assignment
from workers.tool_run import Limits, run
run(["/bin/sh", "-c", "echo $$ > {note}; exec sleep 60"], assignment("executor", "tests"),
    directory=Path({str(tmp_path)!r}), environment={{}}, limits=Limits())
"""
    worker = subprocess.Popen([sys.executable, "-c", script], cwd=SAMPLE.parents[1])
    wait_until(lambda: note.exists() and note.read_text().strip(), timeout=20, what="the tool to run")

    worker.kill()
    worker.wait()

    wait_until(lambda: not is_alive(int(note.read_text())), timeout=5, what="the tool to be gone")


def test_a_child_that_outlives_its_tool_is_killed_too(tmp_path: Path) -> None:
    note = tmp_path / "number"
    argv = ["/bin/sh", "-c", f"sleep 60 & echo $! > {note}"]

    in_tool(argv, assignment("executor", "tests"), tmp_path)

    wait_until(lambda: not is_alive(int(note.read_text())), timeout=5, what="the child to be gone")


def test_a_flood_of_output_is_stopped_and_a_long_one_is_cut(tmp_path: Path) -> None:
    given = assignment("executor", "tests", seconds=30)

    finished = in_tool(["/bin/sh", "-c", "head -c 100000 /dev/zero"], given, tmp_path, output_bytes=10_000)
    with pytest.raises(ToolFailed, match="more output"):
        in_tool(["/bin/sh", "-c", "cat /dev/zero"], given, tmp_path, output_bytes=10_000)

    assert len(finished.stdout) == 10_000


def test_limits_hold_for_the_tool(tmp_path: Path) -> None:
    given = assignment("executor", "tests", seconds=30)
    script = "ulimit -c; ulimit -n; ulimit -f; ulimit -v; ulimit -t"

    finished = in_tool(
        ["/bin/sh", "-c", script],
        given,
        tmp_path,
        cpu_seconds=7,
        memory_bytes=512 * 1024**2,
        file_bytes=1024**2,
        open_files=64,
    )

    assert finished.stdout.split() == [b"0", b"64", b"2048", b"524288", b"7"]


def test_a_tool_that_is_not_there_ends_with_an_exit_code(tmp_path: Path) -> None:
    assert in_tool(["/nowhere/tool"], assignment("executor", "tests"), tmp_path).exit_code != 0


def test_no_process_of_ours_is_left_as_a_zombie(tmp_path: Path) -> None:
    in_tool(["/bin/true"], assignment("executor", "tests"), tmp_path)

    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert not [
        child for child in children if "Z" in Path(f"/proc/{child}/stat").read_text().rpartition(")")[2][:3]
    ]
