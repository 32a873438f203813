"""Audits of packages by tools: real ruff, real pytest, real processes, in a real sandbox."""

from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from orchestrator.cli.up import FLAWED
from orchestrator.models.errors import (
    ToolFailed,
)
from orchestrator.models.execution_state import StepState
from orchestrator.models.step_result import StepResult
from orchestrator.models.task_contract import Contract
from orchestrator.models.verdict import Decision
from orchestrator.planner.recipe import plan_by_recipe
from orchestrator.planner.references import resolve
from orchestrator.safety.archive import pack
from tests.integration.package_kit import FAILING_TEST, packed, sample
from tests.traces import kept
from tests.unit.arm_kit import assignment, attachment_of, run, view
from workers.arms.judge import RoundView, judge_round
from workers.sandbox.readable_files import DISTRIBUTIONS
from workers.sandbox.selection import SandboxStatus

PLANTED_KEY = (FLAWED / "courier" / "carrier.ini").read_text().split()[-1]


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

    with kept() as spans:
        output = run(assignment("executor", "security", files=files), sandbox=sandbox).output

    assert spans.tree("gen_ai.tool.type") == ["execute_tool bandit function"]
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
