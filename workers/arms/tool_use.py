"""Uses a tool on a directory of inputs, in a sandbox of its own."""

from collections.abc import Callable
from pathlib import Path

from workers.arms.base import Assignment
from workers.arms.tools import Command, Places
from workers.sandbox.backend import REPORT
from workers.sandbox.choice import Sandbox
from workers.sandbox.run import Finished, run


def use_tool(
    sandbox: Sandbox, root: Path, command: Callable[[Places], Command], *, assignment: Assignment
) -> tuple[Finished, Places]:
    """Run the tool that `command` makes for its places.

    Raises what ends the assignment, PermitDenied for a tool that is not the step's, and ToolFailed.
    """
    with sandbox.cell(root) as cell:
        places = Places(host=root, inputs=cell.inputs, scratch=cell.scratch, report=REPORT)
        made = command(places)
        assignment.require_tool(made.tool)
        finished = run(
            cell,
            made.argv,
            environment=made.environment,
            limits=sandbox.limits,
            checkpoint=assignment.checkpoint,
        )
    return finished, places
