"""The octollm command: imports the module of the chosen subcommand, and prints errors as one line."""

import importlib
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, NoReturn

import click

from orchestrator.cli import output
from orchestrator.cli.exit_status import EXIT_STATUSES, ExitStatus, status_of_error
from orchestrator.models.errors import OctoError
from orchestrator.settings_file import read_env_file

# name -> module[:attribute], imported only to run the command, and the command's line in --help
_COMMANDS = {
    "run": ("tasks", "Submit a goal, show its progress, print the result and the judge's verdict."),
    "submit": ("tasks", "Submit a goal and print the task's id."),
    "watch": ("tasks", "Show the progress of a task until it ends."),
    "status": ("tasks", "Print the status of a task."),
    "list": ("inspection:list_tasks", "List the tasks, newest first."),
    "result": ("inspection", "Print the result of a task and nothing else."),
    "events": ("inspection", "Print the events of a task, one a line."),
    "step": (
        "difference:show_step",
        "Print one step of a task: inputs, attempts, output, calls to models, log.",
    ),
    "diff": ("difference", "Compare two tasks, or two rounds of one, and name the first step that differs."),
    "trace": ("inspection", "Print every decision about a task."),
    "graph": ("graph", "Print the steps of a task, a plan or a recipe as a picture: Mermaid, DOT or SVG."),
    "check-plan": ("plan_check", "Say what is wrong with the plan or contract in a file; run nothing."),
    "upload": ("tasks:upload_files", "Upload files and print their ids, to attach them by id."),
    "cancel": ("tasks", "Stop a task."),
    "retry": ("retry", "Run a task that has ended again, as a new one that reuses finished steps."),
    "fork": ("retry:fork", "Run a task that has ended again with other inputs, model, prompt or criteria."),
    "replay": ("retry:replay", "Run a task that has ended again with its models' answers, at no cost."),
    "schedule": (
        "schedules",
        "Submit a contract again and again: create, list, show, trigger, backfill, next, ...",
    ),
    "approvals": ("approvals", "List what waits for a person, and how to decide; --watch follows it."),
    "approve": ("approvals", "Let a step run that waits for approval, unchanged or with edited inputs."),
    "reject": ("approvals", "Refuse a step that waits for approval."),
    "answer": ("approvals", "Answer a question of a task."),
    "run-again": ("approvals", "Run a step again whose outcome is unknown."),
    "accept": ("approvals", "Accept as done a step whose outcome is unknown."),
    "dead": ("listings", "List steps that killed their workers and were given up, and how to replay them."),
    "recipes": ("listings", "List the recipes: goals that need no model."),
    "arms": ("listings", "List the arms and their status."),
    "arm": ("arm", "Arms of your own: new, check, try, freeze, list."),
    "worker": ("arm", "Start a worker process for one or more arms."),
    "tools": ("tools", "Add MCP servers as arms; approve what their tools have become."),
    "mcp": ("mcp_proxy", "Be an MCP server on stdin and stdout, whose tools submit and follow tasks."),
    "models": ("models", "List the models: server, price, capabilities, speed; `models test` asks each one."),
    "up": ("up", "Start everything on this machine and run until Ctrl-C."),
    "console": ("console", "Print a link that signs in to the console once."),
    "demo": ("demo", "Start everything, audit a Python package, print the verdict, stop everything."),
    "migrate": ("operator", "Bring the database to this release's schema."),
    "keys": ("keys", "Create, revoke and list API keys."),
    "tenant": ("operator", "Delete a tenant with all its tasks and files."),
    "token": ("keys", "Print a JWT."),
    "audit": ("operator", "List who did what, and whether it was allowed."),
    "fake-llm": (
        "tests.fake_llm.command",
        "Run a fake model server, to try the LLM path without a key (from a checkout).",
    ),
    "doctor": ("doctor", "Check settings, servers and workers; say what to do."),
}


class Commands(click.Group):
    """A group whose commands are imported one by one: `octollm` must start fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of _COMMANDS."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command."""
        if cmd_name not in _COMMANDS:
            return None
        name, _, attribute = _COMMANDS[cmd_name][0].partition(":")
        if name.startswith("tests.") and not find_spec(name.partition(".")[0]):
            raise click.UsageError(
                f"octollm {cmd_name} needs a source checkout: this installation has no tests/"
            )
        module = importlib.import_module(name if "." in name else f"orchestrator.cli.{name}")
        command = getattr(module, attribute or cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)  # noqa: S101
        return command

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Parse the command line; prints help, which a closed pipe may interrupt."""
        with output.exit_on_closed_pipe():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a closed pipe ends it by SIGPIPE, which click would report as an error."""
        with output.exit_on_closed_pipe():
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])


@click.group(cls=Commands, epilog=EXIT_STATUSES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--url", envvar="OCTOLLM_URL", help="The server [default: the running `octollm up`'s, else port 8000]."
)
@click.option(
    "--token",
    envvar="OCTOLLM_TOKEN",
    help="A JWT. Without one, on the server's own machine, a short-lived one for tenant 'local' is signed "
    "with JWT_PRIVATE_KEY from the environment or $OCTOLLM_HOME/stack.env.",
)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(package_name="octollm-orchestrator", prog_name="octollm")
@click.pass_context
def octollm(ctx: click.Context, /, *, url: str | None, token: str | None, **_options: bool) -> None:
    """Run goals on OctoLLM: plan, run steps on arms in parallel, join, judge."""
    from orchestrator.cli.client import ServerOptions  # noqa: PLC0415 - --help needs no HTTP client

    ctx.obj = ServerOptions(url, token)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line `argv` and exit with its status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    output.prepare()
    try:
        read_env_file()
        status = octollm.main(arguments, prog_name="octollm", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(ExitStatus.DETACHED)
    except Exception as error:
        if "--debug" in arguments:
            raise
        sys.exit(_report(error))
    sys.exit(status if isinstance(status, int) else ExitStatus.OK)


def _report(error: Exception) -> ExitStatus:
    """Print an error as one line on stderr; return its exit status."""
    if isinstance(error, OctoError):
        click.echo(f"octollm: {error.message}", err=True)
        return status_of_error(error)
    reason = " ".join(str(error).split())
    click.echo(f"octollm: {type(error).__name__}: {reason} (octollm --debug shows where)", err=True)
    return ExitStatus.FAILED
