"""Runs one tool on the attachments of a step, and makes the step's result from how the tool ended."""

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.models.errors import ToolFailed
from orchestrator.models.step_result import StepResult
from orchestrator.models.task_contract import Attachment
from workers.arms import tools
from workers.arms.base import Assignment, ToolUse, answer
from workers.arms.environments import NO_ENVIRONMENT, Environment
from workers.arms.left_files import LeftFiles, run_keeping_files
from workers.arms.reports import ends_by_missing_module, missing_modules, not_checked, own_modules
from workers.arms.sources import single_attachment, workspace
from workers.arms.tools import Command, ToolPaths, run_tool
from workers.sandbox.run import ToolResult
from workers.sandbox.selection import Sandbox, SandboxStatus

TAIL_CHARACTERS = 2_000


@dataclass(frozen=True)
class ToolRun:
    """How a tool ended on an attachment; `own` are the modules of the code that it ran on, `left` the files it left."""

    finished: ToolResult
    places: ToolPaths
    attachment: Attachment | None
    sandbox: Sandbox
    own: frozenset[str]
    left: LeftFiles
    environment: Environment = NO_ENVIRONMENT

    def missing(self) -> tuple[str, ...]:
        """Return the modules that the tool's output reports as not installed."""
        return missing_modules(self._written(), own=self.own)

    def lacks_module(self) -> bool:
        """Return whether a missing module ended the tool."""
        return self.finished.exit_code != 0 and ends_by_missing_module(self._written()[1], own=self.own)

    def _evidence(self, tool: str) -> dict[str, Any]:
        read = {} if self.attachment is None else {"artifact": self.attachment.sha256}
        return {"tool": tool, "exit_code": self.finished.exit_code, **read}

    def _version_of(self, tool: str) -> str:
        if tool == "python":
            return platform.python_version()
        if tool == "command":
            return "the operator's"
        return self.environment.packages.get(tool) or tools.tool_version(tool)

    def _written(self) -> tuple[str, str]:
        return (
            self.finished.stdout.decode("utf-8", "replace"),
            self.finished.stderr.decode("utf-8", "replace"),
        )

    def answer(
        self, assignment: Assignment, output: dict[str, Any], *, tool: str, warnings: Sequence[str] = ()
    ) -> StepResult:
        """Return the result of a step that ran `tool`."""
        return answer(
            assignment,
            output,
            evidence=[self._evidence(tool)],
            warnings=[*self.environment.warnings, *self.left.warnings(), *warnings],
            tools=ToolUse.inside(self.sandbox, {tool: self._version_of(tool)}),
        )


def run_on_attachments(
    assignment: Assignment,
    sandbox: SandboxStatus,
    command: Callable[[ToolPaths], Command],
    *,
    attachments: tuple[Attachment, ...] | None = None,
    environment: Environment = NO_ENVIRONMENT,
    keeps_files: bool = False,
) -> ToolRun:
    """Run a tool on the given attachments, or the only one; raises SandboxUnavailable without a sandbox.

    If it `keeps_files`, those that it leaves are returned.
    """
    usable = sandbox.require()
    if attachments is None:
        attachments = (single_attachment(assignment),)
    with workspace(assignment, attachments) as root:
        own = own_modules(root)
        left, place = LeftFiles(), environment.place
        if keeps_files:
            finished, places, left = run_keeping_files(
                usable, root, command, assignment=assignment, environment=place
            )
        else:
            finished, places = run_tool(usable, root, command, assignment=assignment, environment=place)
    return ToolRun(finished, places, next(iter(attachments), None), usable, own, left, environment)


def about_missing(
    missing: Sequence[str], *, subject: str, named: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return the output's members about missing modules; `missing` are those because of which it proves nothing."""
    return {
        "missing_dependencies": list(missing if named is None else named),
        "not_checked": not_checked(missing, subject=subject) if missing else None,
    }


def failed(tool: str, finished: ToolResult) -> ToolFailed:
    """Return the error of a tool that left no usable report; its details have the end of what it wrote."""
    tail = (finished.stderr or finished.stdout).decode("utf-8", "replace")[-TAIL_CHARACTERS:]
    return ToolFailed(
        f"{tool} ended with exit code {finished.exit_code} and no usable report",
        details={"exit_code": finished.exit_code, "output_tail": tail},
    )
