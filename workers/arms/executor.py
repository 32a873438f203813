"""The executor: runs ruff, bandit, pytest, coverage, scripts and the operator's commands in a sandbox, no shell."""

import hashlib
import time
from collections.abc import Callable

from orchestrator.models.errors import InvalidStepInput
from orchestrator.models.step_result import StepResult
from orchestrator.models.wording import count_of
from orchestrator.safety.archive import is_archive
from workers.arms import package_tests, static_checks, tools
from workers.arms.base import ActionArm, Arm, Assignment, answer
from workers.arms.environments import chosen, environment
from workers.arms.sources import paths_of, selected_attachments
from workers.arms.tool_runs import TAIL_CHARACTERS, ToolRun, about_missing, run_on_attachments
from workers.arms.tools import Command, ToolPaths
from workers.sandbox.selection import SandboxStatus

MAX_OUTPUT_CHARACTERS = 50_000


def make(sandbox: SandboxStatus) -> Arm:
    """Return the executor; its tools run in the given sandbox."""
    in_sandbox = {
        "lint": static_checks.lint,
        "security": static_checks.security,
        "tests": package_tests.tests,
        "coverage": package_tests.coverage,
        "script": script,
        "environment": environment,
        "run": command,
    }
    return ActionArm({"wait": wait, **{name: _inside(sandbox, run) for name, run in in_sandbox.items()}})


def script(assignment: Assignment, sandbox: SandboxStatus) -> StepResult:
    """Run a script beside its files; the output has its exit code and what it printed.

    Without `args` its arguments are the paths of its files, in their order. In an archive it is named by `script`, and
    can import the archive's modules.
    """
    script, *given = selected_attachments(assignment)
    inner = assignment.inputs.get("script")
    if is_archive(script.filename) != (inner is not None):
        raise InvalidStepInput(
            f"{script.filename} is an archive: name the script in it by `script`"
            if inner is None
            else f"{script.filename} is no archive: leave `script` out"
        )
    args, stdin = assignment.inputs.get("args"), assignment.inputs.get("stdin", "")

    def made(places: ToolPaths) -> Command:
        name, *others = paths_of([script, *given])
        paths = [str(places.inputs / other) for other in others]
        made = tools.python_script(
            places,
            script=name if inner is None else f"{name}/{inner}",
            args=paths if args is None else args,
            stdin=stdin,
        )
        return made if inner is None else tools.with_modules(made, places, name)

    with chosen(assignment, sandbox) as used:
        ran = run_on_attachments(
            assignment,
            sandbox,
            made,
            attachments=(script, *given),
            environment=used,
            keeps_files=True,
        )
    return _answer(assignment, ran, tool="python", shown=script.filename)


def command(assignment: Assignment, sandbox: SandboxStatus) -> StepResult:
    """Run a command that the operator allows beside the files, which are as for a script; there is no shell."""
    inputs = assignment.inputs
    allowed = {} if assignment.tool_settings is None else assignment.tool_settings.commands
    name = inputs["command"]
    if name not in allowed:
        raise InvalidStepInput(
            f"no command {name!r} is allowed here; allowed are: {', '.join(sorted(allowed)) or 'none'}. The operator "
            "allows one by EXECUTOR_COMMANDS, for example wc=/usr/bin/wc"
        )
    attachments = selected_attachments(assignment)
    argv = (*allowed[name], *inputs.get("args", ()))
    with chosen(assignment, sandbox) as used:
        ran = run_on_attachments(
            assignment,
            sandbox,
            lambda places: tools.allowed_command(places, argv=argv, stdin=inputs.get("stdin", "")),
            attachments=attachments,
            environment=used,
            keeps_files=True,
        )
    return _answer(assignment, ran, tool="command", shown=name)


def _answer(assignment: Assignment, ran: ToolRun, *, tool: str, shown: str) -> StepResult:
    """Return the result of a program; the output has its exit code, what it printed and the files that it left."""
    finished = ran.finished
    output = {
        "summary": f"{shown} ended with exit code {finished.exit_code} after "
        f"{count_of(len(finished.stdout), 'byte')} of output",
        "exit_code": finished.exit_code,
        "stdout": finished.stdout.decode("utf-8", "replace")[:MAX_OUTPUT_CHARACTERS],
        "stdout_bytes": len(finished.stdout),
        "stdout_sha256": hashlib.sha256(finished.stdout).hexdigest(),
        "complete": len(finished.stdout) < ran.sandbox.limits.output_bytes,
        "stderr_tail": finished.stderr.decode("utf-8", "replace")[-TAIL_CHARACTERS:],
        "seconds": finished.seconds,
        "files": ran.left.save(assignment),
        **about_missing(ran.missing() if ran.lacks_module() else (), subject=f"{shown} needs"),
    }
    return ran.answer(assignment, output, tool=tool)


def wait(assignment: Assignment) -> StepResult:
    """Wait; the output has the measured time. Raises ToolTimeout at the step's limit."""
    started = time.monotonic()
    end = started + assignment.inputs["seconds"]
    while (now := time.monotonic()) < end:
        assignment.checkpoint()
        assignment.cancelled.wait(min(end - now, assignment.deadline - now, 1.0))
    waited = round(time.monotonic() - started, 3)
    return answer(assignment, {"summary": f"Waited {waited:.1f} s", "seconds": waited})


def _inside(
    sandbox: SandboxStatus, run: Callable[[Assignment, SandboxStatus], StepResult]
) -> Callable[[Assignment], StepResult]:
    return lambda assignment: run(assignment, sandbox)
