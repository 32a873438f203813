"""The executor's tools on real files: scripts, tests and linters in a real sandbox, and what they may not do."""

import hashlib
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.models.errors import (
    InvalidStepInput,
    PermitDenied,
    SandboxUnavailable,
    Stopped,
    ToolFailed,
    ToolTimeout,
)
from orchestrator.models.execution_state import StepState
from orchestrator.models.step_result import StepResult
from orchestrator.models.task_contract import Contract
from orchestrator.models.verdict import Decision
from orchestrator.planner.recipe import plan_by_recipe
from orchestrator.planner.references import resolve
from orchestrator.safety.archive import pack
from tests.integration.package_kit import packed, sample
from tests.unit.arm_kit import assignment, attachment_of, run
from workers.arms.base import CancelToken
from workers.arms.judge import RoundView, judge_round
from workers.sandbox.backend import Isolation
from workers.sandbox.selection import Sandbox, SandboxStatus, backend_of


def test_a_script_that_needs_a_missing_module_reports_it(sandbox: SandboxStatus) -> None:
    files = {"total.py": b"import pandas\n"}
    chosen = {"attachments": [attachment_of(files["total.py"], "total.py").sha256]}

    output = run(assignment("executor", "script", chosen, files=files), sandbox=sandbox).output

    assert (output["exit_code"], output["missing_dependencies"]) == (1, ["pandas"])
    assert output["not_checked"]["reason"] == "dependency_missing"


def test_a_script_runs_on_one_file_and_its_output_is_reported(sandbox: SandboxStatus) -> None:
    script = b"import sys\nprint(len(open(sys.argv[1]).read().split()))\nsys.exit(3)\n"
    files = {"count.py": script, "a.txt": b"one two three"}
    given = assignment("executor", "script", files=files)
    named = assignment(
        "executor", "script", {"attachments": [item.sha256 for item in given.attachments]}, files=files
    )

    output = run(named, sandbox=sandbox).output

    assert (output["exit_code"], output["stdout"], output["complete"]) == (3, "3\n", True)
    assert output["stdout_sha256"] == hashlib.sha256(b"3\n").hexdigest()


@pytest.mark.parametrize("isolation", list(Isolation)[1:])
def test_a_script_gets_its_arguments_its_standard_input_and_its_files(isolation: Isolation) -> None:
    script = b"""import sys
names = sys.argv[2:]
print([sys.argv[1], sys.stdin.read(), *(open(name).read() for name in names)])
"""
    files = {"show.py": script, "a.txt": b"one", "b.txt": b"two"}
    named = [attachment_of(content, name).sha256 for name, content in files.items()]
    inputs = {"attachments": named, "args": ["--say=$(id) é", "b.txt", "a.txt"], "stdin": "first\nlast é"}
    backend = backend_of(isolation)
    assert not isinstance(backend, str), backend

    output = run(
        assignment("executor", "script", inputs, files=files), sandbox=SandboxStatus(Sandbox(backend))
    ).output

    assert output["stdout"] == "['--say=$(id) é', 'first\\nlast é', 'two', 'one']\n"


def test_a_script_without_arguments_is_given_the_paths_of_its_files(
    tmp_path: Path, sandbox: SandboxStatus
) -> None:
    script = b"import os, sys\nprint([os.path.isdir(name) for name in sys.argv[1:]], sys.stdin.read())\n"
    files = {"show.py": script, "a.txt": b"one", **packed(tmp_path / "code", module="")}
    named = [attachment_of(content, name).sha256 for name, content in files.items()]

    output = run(
        assignment("executor", "script", {"attachments": named}, files=files), sandbox=sandbox
    ).output

    assert output["stdout"] == "[False, True] \n"


def test_the_recipe_runs_a_script_on_every_input_and_finds_the_output_that_is_not_as_expected(
    sandbox: SandboxStatus,
) -> None:
    files = {
        "count.py": b"import sys\nprint(len(open(sys.argv[1]).read().split()))\n",
        "a.txt": b"one two",
        "b.txt": b"one two three",
        "c.txt": b"three four",
        "a.txt.expected": b"2\n",
        "b.txt.expected": b"4\n",
    }
    contract = Contract(goal="Run this script on every input and compare the outputs")
    plan = plan_by_recipe(contract, [attachment_of(content, name) for name, content in files.items()])
    results: dict[str, StepResult] = {}
    for step in plan.steps:
        inputs = resolve(step.inputs, {name: result.output for name, result in results.items()})
        results[step.id] = run(assignment(step.arm, step.action, inputs, files=files), sandbox=sandbox)

    verdict = judge_round(RoundView(contract, plan, results, dict.fromkeys(results, StepState.DONE), 1))

    assert [group["names"] for group in results["outputs"].output["groups"]] == [
        ["1 a.txt", "3 c.txt"],
        ["2 b.txt"],
    ]
    assert [finding["text"] for finding in results["agreement"].output["findings"] if not finding["met"]] == [
        "The output on 2 b.txt is as expected"
    ]
    assert verdict.decision is Decision.FAILED


def test_without_a_sandbox_no_tool_runs_and_the_error_has_the_fix(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    files = packed(tmp_path / "code", test_a=f"open({str(mark)!r}, 'w')\n")
    none = SandboxStatus(None, reason="no sandbox works here", fix="install bubblewrap")

    for action in ("lint", "tests", "security", "coverage"):
        with pytest.raises(SandboxUnavailable, match="no sandbox works here"):
            run(assignment("executor", action, files=files), sandbox=none)

    assert not mark.exists()


def test_a_result_has_the_isolation_of_its_tool(tmp_path: Path, sandbox: SandboxStatus) -> None:
    files = packed(tmp_path / "code", good="A = 1\n")

    provenance = run(assignment("executor", "lint", files=files), sandbox=sandbox).provenance

    assert provenance["isolation"] == sandbox.isolation != "none"
    assert provenance["limits"]["memory_bytes"]["per"] == "process"
    assert provenance["limits"]["tree_memory_bytes"]["per"] == "tree"


def test_a_tool_that_the_permit_does_not_name_is_not_run(tmp_path: Path, sandbox: SandboxStatus) -> None:
    given = assignment("executor", "lint", {}, files={"package.tar.gz": sample(tmp_path)})

    with pytest.raises(PermitDenied, match="may not run ruff"):
        run(replace(given, tools=("pytest",)), sandbox=sandbox)


def test_lint_findings_have_code_and_place_and_count(tmp_path: Path, sandbox: SandboxStatus) -> None:
    files = packed(
        tmp_path / "code", good="A = 1\n", bad="import os\nimport sys\n\n\ndef f(x=[]):\n    return x\n"
    )

    output = run(assignment("executor", "lint", files=files), sandbox=sandbox).output

    assert output["by_code"] == {"B006": 1, "F401": 2}
    assert {(item["file"], item["line"], item["code"]) for item in output["findings"]} == {
        ("bad.py", 1, "F401"),
        ("bad.py", 2, "F401"),
        ("bad.py", 5, "B006"),
    }


def test_the_attachment_s_own_configuration_can_not_silence_the_linter(
    tmp_path: Path, sandbox: SandboxStatus
) -> None:
    place = tmp_path / "code"
    place.mkdir()
    (place / "bad.py").write_text("import os\n")
    (place / "ruff.toml").write_text('exclude = ["*"]\n')
    (place / "ruff.py").write_text("raise SystemExit(0)\n")

    output = run(assignment("executor", "lint", files={"a.tgz": pack(place)}), sandbox=sandbox).output

    assert output["finding_count"] == 1


@pytest.mark.parametrize(
    ("source", "counts"),
    [
        ("def test_a():\n    pass\n", (1, 0, 0, 0, 0)),
        ("def test_a():\n    assert 0\n\ndef test_b():\n    pass\n", (1, 1, 0, 0, 1)),
        ("import no way\n", (0, 0, 1, 0, 1)),
        ("import pytest\n\n@pytest.mark.skip\ndef test_a():\n    pass\n", (0, 0, 0, 1, 0)),
        ("x = 1\n", (0, 0, 0, 0, 5)),
    ],
)
def test_the_outcomes_of_tests_are_reported(
    source: str, counts: tuple[int, ...], tmp_path: Path, sandbox: SandboxStatus
) -> None:
    files = packed(tmp_path / "code", test_a=source)

    output = run(assignment("executor", "tests", files=files), sandbox=sandbox).output

    assert tuple(output[name] for name in ("passed", "failed", "errors", "skipped", "exit_code")) == counts


def test_tests_that_kill_pytest_are_a_failed_tool_not_a_pass(tmp_path: Path, sandbox: SandboxStatus) -> None:
    files = packed(tmp_path / "code", test_a="import os\n\ndef test_a():\n    os._exit(0)\n")

    with pytest.raises(ToolFailed, match="pytest ended with exit code 0 and no usable report"):
        run(assignment("executor", "tests", files=files), sandbox=sandbox)


def test_a_tool_sees_nothing_of_our_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sandbox: SandboxStatus
) -> None:
    monkeypatch.setenv("JWT_SECRET", "not-for-tools")
    source = "import os\n\ndef test_a():\n    assert 'JWT_SECRET' not in os.environ, os.environ\n"

    output = run(
        assignment("executor", "tests", files=packed(tmp_path / "code", test_a=source)), sandbox=sandbox
    ).output

    assert output["passed"] == 1, output


@pytest.mark.parametrize("paths", [["../outside"], ["a/../../x"], ["nothing"], ["-x"]])
def test_a_path_must_lie_in_the_attachment(paths: list[str], tmp_path: Path, sandbox: SandboxStatus) -> None:
    files = packed(tmp_path / "code", test_a="x = 1\n")

    with pytest.raises(InvalidStepInput):
        run(assignment("executor", "tests", {"paths": paths}, files=files), sandbox=sandbox)


def test_waiting_takes_its_time_and_stops_on_cancellation_or_deadline() -> None:
    token = CancelToken()
    started = time.monotonic()

    output = run(assignment("executor", "wait", {"seconds": 0.2})).output
    with pytest.raises(ToolTimeout):
        run(replace(assignment("executor", "wait", {"seconds": 30}), deadline=time.monotonic() + 0.1))
    threading.Timer(0.1, token.set).start()
    with pytest.raises(Stopped):
        run(replace(assignment("executor", "wait", {"seconds": 30}), cancelled=token))

    assert 0.2 <= output["seconds"] < 2
    assert time.monotonic() - started < 5
