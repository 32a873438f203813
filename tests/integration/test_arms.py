"""Arms that run tools: real ruff, real pytest, real processes, in a real sandbox."""

import hashlib
import threading
import time
from dataclasses import replace
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from orchestrator.cli.up import FLAWED
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
from tests.unit.arm_kit import assignment, attachment_of, run, view
from workers.arms.base import CancelToken
from workers.arms.judge import RoundView, judge_round
from workers.sandbox.backend import Isolation
from workers.sandbox.readable_files import DISTRIBUTIONS
from workers.sandbox.selection import Sandbox, SandboxStatus, backend_of, select_sandbox

SAMPLE = Path(__file__).parents[2] / "examples" / "sample_package"
PLANTED_KEY = (FLAWED / "courier" / "carrier.ini").read_text().split()[-1]
FAILING_TEST = "def test_planted():\n    assert 1 + 1 == 3\n"


@pytest.fixture(scope="module")
def sandbox() -> SandboxStatus:
    """The strongest sandbox of this machine."""
    return select_sandbox(Isolation.BASIC)


def packed(place: Path, **files: str) -> dict[str, bytes]:
    place.mkdir()
    for name, text in files.items():
        (place / f"{name}.py").write_text(text)
    return {"code.tar.gz": pack(place)}


def sample(tmp_path: Path, **more: str) -> bytes:
    """Pack the shipped example with additional test files."""
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


def audit(content: bytes, sandbox: SandboxStatus) -> tuple[RoundView, dict[str, StepResult]]:
    """Plan an audit by its recipe and run its steps one after the other."""
    attached = attachment_of(content, "package.tar.gz")
    contract = Contract(goal="Audit this Python package", attachments=(attached.sha256,))
    plan = plan_by_recipe(contract, [attached])
    results: dict[str, StepResult] = {}
    for step in plan.steps:
        inputs = resolve(step.inputs, {name: result.output for name, result in results.items()})
        given = assignment(step.arm, step.action, inputs, files={"package.tar.gz": content})
        results[step.id] = run(given, sandbox=sandbox)
    return RoundView(contract, plan, results, dict.fromkeys(results, StepState.DONE), 1), results


def test_the_shipped_example_passes_its_audit(tmp_path: Path, sandbox: SandboxStatus) -> None:
    seen, results = audit(sample(tmp_path), sandbox)

    verdict = judge_round(seen)

    assert verdict.decision is Decision.PASSED, verdict.summary
    assert results["tests"].output["passed"] == 28
    assert results["tests"].provenance["tools"]["pytest"]
    assert verdict.output.splitlines()[:2] == ["files: 8", "python_files: 6"]
    assert "[tests] 28 tests: 28 passed" in verdict.summary


def test_a_copy_with_a_failing_test_is_rejected_with_that_test_as_evidence(
    tmp_path: Path, sandbox: SandboxStatus
) -> None:
    seen, results = audit(sample(tmp_path, test_planted=FAILING_TEST), sandbox)

    verdict = judge_round(seen)

    assert verdict.decision is Decision.FAILED
    assert set(verdict.faulty) == {"tests"}
    assert "No test fails" in verdict.faulty["tests"]
    assert [failure["test"] for failure in results["tests"].output["failures"]] == [
        "tests/test_planted.py::test_planted"
    ]
    assert results["report"].output["values"]["tests_failed"] == 1


def test_the_flawed_example_is_rejected_with_evidence_for_each_of_its_defects(
    sandbox: SandboxStatus,
) -> None:
    seen, results = audit(pack(FLAWED), sandbox)
    verdict = judge_round(seen)

    failed = {finding.criterion for finding in verdict.findings if finding.met is False}
    assert verdict.decision is Decision.FAILED
    assert failed == {"No test fails", "Every function is run by a test", "No file holds a secret"}
    assert set(verdict.faulty) == {"tests", "coverage", "secrets"}
    assert [item["test"] for item in results["tests"].output["failures"]] == [
        "tests/test_price.py::test_a_parcel_at_the_limit_costs_the_lower_price"
    ]
    assert results["coverage"].output["never_run"] == [
        {"name": "refund", "file": "courier/price.py", "line": 15}
    ]
    secrets = results["secrets"].output["findings"]
    assert [(item["file"], item["line"]) for item in secrets if item["kind"].startswith("secret.")] == [
        ("courier/carrier.ini", 4)
    ]
    assert PLANTED_KEY not in str([result.to_record() for result in results.values()])


def test_insecure_code_is_found_whatever_the_attachment_says_about_it(
    tmp_path: Path, sandbox: SandboxStatus
) -> None:
    place = tmp_path / "code"
    place.mkdir()
    (place / "bad.py").write_text("import subprocess\n\nsubprocess.call(input(), shell=True)  # nosec\n")
    (place / ".bandit").write_text("[bandit]\nskips: B602\nexclude: bad.py\n")
    files = {"code.tar.gz": pack(place)}

    output = run(assignment("executor", "security", files=files), sandbox=sandbox).output

    assert (output["high_count"], output["finding_count"]) == (1, 2)
    assert [(item["file"], item["line"], item["code"]) for item in output["findings"]][1] == (
        "bad.py",
        3,
        "B602",
    )


def test_functions_that_no_test_enters_are_named(tmp_path: Path, sandbox: SandboxStatus) -> None:
    module = (
        "def used(x):\n    if x:\n        return 1\n    return 2\n\n\n"
        "class K:\n    def unused(self):\n        return 3\n"
    )
    tests = "from m import used\n\ndef test_u():\n    assert used(1) == 1\n"
    files = packed(tmp_path / "code", m=module, test_m=tests)

    output = run(assignment("executor", "coverage", files=files), sandbox=sandbox).output

    assert output["never_run"] == [{"name": "K.unused", "file": "m.py", "line": 8}]
    assert output["files"] == [{"file": "m.py", "statements": 7, "run": 5}]
    assert (output["functions"], output["exit_code"]) == (2, 0)


def test_a_coverage_report_that_the_tests_forged_is_a_failed_tool(
    tmp_path: Path, sandbox: SandboxStatus
) -> None:
    files = packed(tmp_path / "code", test_a="import os\n\ndef test_a():\n    os._exit(0)\n")

    with pytest.raises(ToolFailed, match="coverage ended"):
        run(assignment("executor", "coverage", files=files), sandbox=sandbox)


FORGED = """import os
import sys


def test_a():
    cases = "".join(f'<testcase classname="test_a" name="test_{number}" time="0"/>' for number in range(250))
    (report,) = [word.partition("=")[2] for word in sys.argv if word.startswith("--junitxml=")]
    with open(report, "w") as file:
        file.write(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    os._exit(0)
"""


def test_a_report_that_a_hostile_test_may_have_forged_is_marked(
    tmp_path: Path, sandbox: SandboxStatus
) -> None:
    """The test runs in pytest's own process, which writes the report: no report can prove that tests ran."""
    result = run(
        assignment("executor", "tests", files=packed(tmp_path / "code", test_a=FORGED)), sandbox=sandbox
    )
    step = {"id": "tests", "arm": "executor", "action": "tests", "inputs": {}}

    verdict = judge_round(view([step], {"tests": result}))

    assert (result.output["passed"], result.output["exit_code"]) == (250, 0)
    assert result.output["report_trusted"] is False
    told = [finding.explanation for finding in verdict.findings if finding.step == "tests"]
    assert len(told) == 3
    assert all("could have forged it" in explanation for explanation in told)


PANDAS = "import pandas\n\n\ndef total(rows):\n    return pandas.Series(rows).sum()\n"
FLASK = "import flask\n\n\ndef app():\n    return flask.Flask('x')\n"


@pytest.mark.parametrize(("module", "name"), [(PANDAS, "pandas"), (FLASK, "flask")])
def test_a_package_whose_dependency_is_not_installed_is_inconclusive_and_the_dependency_named(
    tmp_path: Path, sandbox: SandboxStatus, module: str, name: str
) -> None:
    """The packages that OctoLLM itself uses are not installed for untrusted code."""
    files = packed(tmp_path / "code", m=module, test_m="import m\n\n\ndef test_m():\n    assert m\n")

    seen, results = audit(files["code.tar.gz"], sandbox)
    verdict = judge_round(seen)

    tests = results["tests"].output
    assert (tests["missing_dependencies"], tests["not_run"], tests["errors"]) == ([name], 1, 0)
    assert results["coverage"].output["missing_dependencies"] == [name]
    assert verdict.decision is Decision.INCONCLUSIVE, verdict.summary
    assert {item.reason for item in verdict.findings if item.required and item.met is None} == {
        "dependency_missing"
    }
    assert f"{name}, which is not installed here" in " ".join(verdict.warnings)


def test_tests_that_can_run_still_run_and_a_failing_one_still_rejects(
    tmp_path: Path, sandbox: SandboxStatus
) -> None:
    files = packed(
        tmp_path / "code",
        test_a="import pandas\n\n\ndef test_a():\n    assert pandas\n",
        test_b="def test_b():\n    assert 1 + 1 == 3\n",
        test_c="def test_c():\n    assert True\n",
    )

    output = run(assignment("executor", "tests", files=files), sandbox=sandbox).output

    assert (output["passed"], output["failed"], output["errors"], output["not_run"]) == (1, 1, 0, 1)
    assert output["missing_dependencies"] == ["pandas"]
    assert output["not_checked"] is None


def test_a_conftest_that_can_t_be_imported_names_its_dependency(
    tmp_path: Path, sandbox: SandboxStatus
) -> None:
    files = packed(tmp_path / "code", conftest="import numpy\n", test_a="def test_a():\n    assert True\n")

    for action in ("tests", "coverage"):
        output = run(assignment("executor", action, files=files), sandbox=sandbox).output

        assert output["missing_dependencies"] == ["numpy"]
        assert output["not_checked"]["reason"] == "dependency_missing"


def test_a_missing_module_of_its_own_is_the_package_s_fault(tmp_path: Path, sandbox: SandboxStatus) -> None:
    files = packed(
        tmp_path / "code", m="import m.parts\n", test_m="import m\n\n\ndef test_m():\n    assert m\n"
    )

    output = run(assignment("executor", "tests", files=files), sandbox=sandbox).output

    assert (output["errors"], output["missing_dependencies"], output["not_checked"]) == (1, [], None)


def test_a_process_that_tests_start_can_import_no_more_than_the_tests(
    tmp_path: Path, sandbox: SandboxStatus
) -> None:
    test = (
        "import subprocess, sys\n\n\ndef test_a():\n"
        "    for name in ('celery', 'flask', 'sqlalchemy', 'openai'):\n"
        "        assert subprocess.run([sys.executable, '-c', 'import ' + name], env={}).returncode == 1\n"
        "    assert subprocess.run([sys.executable, '-c', 'import pytest, json'], env={}).returncode == 0\n"
    )
    files = packed(tmp_path / "code", test_a=test)

    output = run(assignment("executor", "tests", files=files), sandbox=sandbox).output

    assert (output["passed"], output["failed"]) == (1, 0), output["failures"]


def test_a_script_that_needs_a_missing_module_reports_it(sandbox: SandboxStatus) -> None:
    files = {"total.py": b"import pandas\n"}
    chosen = {"attachments": [attachment_of(files["total.py"], "total.py").sha256]}

    output = run(assignment("executor", "script", chosen, files=files), sandbox=sandbox).output

    assert (output["exit_code"], output["missing_dependencies"]) == (1, ["pandas"])
    assert output["not_checked"]["reason"] == "dependency_missing"


def test_the_bare_python_has_everything_that_pytest_and_coverage_need() -> None:
    """If a release of pytest needs more, the tested package must not be reported as lacking it."""
    needed = {"pytest", "coverage"}
    while (
        more := {
            requirement.name.lower()
            for name in needed
            for requirement in map(Requirement, requires(name) or ())
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        }
        - needed
    ):
        needed |= more

    assert needed == set(DISTRIBUTIONS)


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
