"""MCP servers as arms: `octollm tools` adds one, lists its tools again, shows what changed, and approves it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.mcp_arm import MANIFEST, SERVER, FrozenTools, McpArm, differences
from orchestrator.cli.mcp_install import ServerProgram, resolve
from orchestrator.models.errors import SettingsError
from orchestrator.registry.manifest_keys import ARM_ID
from orchestrator.settings_file import peek

_LIST_SECONDS = 180
_OPTION = click.option


@click.group()
def tools() -> None:
    """Add MCP servers as arms, and approve what their tools have become.

    They lie in the first directory of ARMS_PATH, by default ./arms. Restart the processes after a change.
    """


@tools.command(context_settings={"ignore_unknown_options": False})
@click.argument("name")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@_OPTION("--url", help="The address of a server that is reached over streamable HTTP, in place of a command.")
@_OPTION(
    "--header",
    "headers",
    multiple=True,
    metavar="NAME=TEXT",
    help="With --url; {TOKEN} is a variable of --env.",
)
@_OPTION(
    "--read", "reads", multiple=True, metavar="PATH", help="A directory or file that the server may read."
)
@_OPTION(
    "--write", "writes", multiple=True, metavar="PATH", help="A directory that the server may read and write."
)
@_OPTION("--network", is_flag=True, help="Let the server open connections to other machines.")
@_OPTION(
    "--env",
    multiple=True,
    metavar="NAME",
    help="A variable that the server gets, with its value at run time.",
)
@_OPTION(
    "--only", multiple=True, metavar="TOOL", help="Take this tool of the server only; repeat it for several."
)
@_OPTION("--effects", multiple=True, metavar="TOOL=write", help="Tighten the effects that a tool claims.")
@_OPTION(
    "--not-idempotent", multiple=True, metavar="TOOL", help="Do not believe that a tool may be called again."
)
@_OPTION(
    "--timeout", type=click.FloatRange(1, 3600), default=60.0, show_default=True, help="Seconds of one call."
)
@_OPTION(
    "--memory", type=click.IntRange(64, 1_048_576), default=2048, show_default=True, help="MiB of addresses."
)
@_OPTION("--description", help="What the arm is for, for planners.")
@_OPTION("--replace", is_flag=True, help="Replace an arm of this name.")
def add(*, name: str, command: tuple[str, ...], replace: bool, **options: Any) -> None:
    """Start the server COMMAND, list its tools and freeze them as the arm NAME.

    \b
    octollm tools add git --write /srv/repo -- uvx mcp-server-git --repository /srv/repo
    octollm tools add clock -- mcp-server-time

    `uvx` and `npx` install their package into the arm's directory, so that no network is needed later. A tool
    without the hint readOnlyHint counts as a write, and one without idempotentHint is not run again after a crash.
    """
    if not ARM_ID.fullmatch(name):
        raise click.UsageError(
            f"{name!r} is no name of an arm: 3 to 40 of a-z, 0-9, _ and -, starting with a letter"
        )
    if bool(command) == bool(options["url"]):
        raise click.UsageError("give the command of the server after `--`, or --url, but not both")
    arm = McpArm(_directory() / name)
    if arm.directory.exists() and not replace:
        raise SettingsError(
            f"{arm.directory} exists: `octollm tools sync {name}`, or add it again with --replace"
        )
    existed = arm.directory.exists()
    arm.directory.mkdir(parents=True, exist_ok=True)
    try:
        made = _add(arm, command, options)
    except BaseException:
        if not existed:
            shutil.rmtree(arm.directory)
        raise
    _report(arm, made)


@tools.command("list")
@_OPTION("--json", "as_json", is_flag=True, help="Print JSON.")
def list_arms(*, as_json: bool) -> None:
    """List the MCP servers, the actions that they have become, and what waits for approval."""
    arms = [_listed(arm) for arm in _arms()]
    if as_json:
        click.echo(json.dumps(arms, indent=2))
        return
    if not arms:
        click.echo(f"no MCP server in {_directory()}: `octollm tools add NAME -- COMMAND` adds one")
    for arm in arms:
        click.echo(
            f"{arm['name']}  {arm['server']}  {arm['sha256'][:12]}{'  changed' if arm['changed'] else ''}"
        )
        for action, effects in arm["actions"].items():
            click.echo(f"    {action:<32} {effects}")


@tools.command()
@click.argument("name", required=False)
def sync(*, name: str | None) -> int:
    """List the tools of NAME, or of all servers, again; exit with status 1 when any differs from what is approved."""
    changed = False
    for arm in [McpArm(_directory() / name)] if name else _arms():
        record = arm.record()
        listed = _described(arm.name, record)["tools"]
        if arm.offer(listed):
            changed = True
            click.echo(
                f"{arm.name}: changed; calls of changed tools fail with tool_changed until you approve them"
            )
            click.echo(f"  -> octollm tools diff {arm.name}, octollm tools approve {arm.name}")
        else:
            click.echo(f"{arm.name}: as approved")
    return 1 if changed else 0


@tools.command()
@click.argument("name")
def diff(*, name: str) -> None:
    """Show what `octollm tools sync` found: how the tools of NAME differ from the approved ones."""
    arm = McpArm(_directory() / name)
    pending = arm.pending()
    for line in differences(arm.frozen(), arm.frozen() if pending is None else pending):
        click.echo(_printable(line))
    if pending is None:
        click.echo(f"{name}: nothing waits for approval; `octollm tools sync {name}` looks again", err=True)


@tools.command()
@click.argument("name")
@_OPTION("--yes", is_flag=True, help="Do not ask.")
def approve(*, name: str, yes: bool) -> None:
    """Accept the tools that `octollm tools diff` shows, and the manifest's table [mcp.tighten]."""
    arm = McpArm(_directory() / name)
    pending = arm.pending()
    found = arm.frozen() if pending is None else pending
    for line in differences(arm.frozen(), found):
        click.echo(_printable(line))
    if not yes:
        click.confirm(f"Let plans use these tools of {name}?", abort=True, err=True)
    _report(arm, arm.approve(found))


def _add(arm: McpArm, command: Sequence[str], options: Mapping[str, Any]) -> FrozenTools:
    table: dict[str, Any] = _remote(options) if options["url"] else _local(arm, command, options)
    table["timeout_seconds"] = options["timeout"]
    if options["only"]:
        table["only"] = list(options["only"])
    if tighten := _tightened(options):
        table["tighten"] = tighten
    record = {
        "description": options["description"] or f"Tools of the MCP server {arm.name}",
        "env": list(options["env"]),
        "mcp": table,
    }
    described = _described(arm.name, record)
    listed = [tool for tool in described["tools"] if not options["only"] or tool["name"] in options["only"]]
    missing = set(options["only"]) - {tool["name"] for tool in listed}
    if missing:
        raise SettingsError(f"the server has no tool {sorted(missing)[0]!r}: correct --only")
    return arm.create({**record, "version": str(described["version"])[:40] or "1"}, listed)


def _remote(options: Mapping[str, Any]) -> dict[str, Any]:
    headers = dict(text.partition("=")[::2] for text in options["headers"])
    return {"url": options["url"], **({"headers": headers} if headers else {})}


def _local(arm: McpArm, command: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    program: ServerProgram = resolve(command, (arm.directory / SERVER).absolute())
    named = [*options["reads"], *options["writes"]]
    for path in named:
        if not Path(path).exists():
            raise SettingsError(f"{path} does not exist: make it first, or correct --read or --write")
    return {
        "command": list(program.command),
        "reads": [*program.reads, *(str(Path(path).resolve()) for path in options["reads"])],
        "writes": [str(Path(path).resolve()) for path in options["writes"]],
        "network": options["network"],
        "memory_mib": options["memory"],
    }


def _tightened(options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    tighten: dict[str, dict[str, Any]] = {}
    for text in options["effects"]:
        tool, _, effects = text.rpartition("=")
        if effects not in ("read", "write") or not tool:
            raise click.UsageError(f"--effects {text}: write TOOL=read or TOOL=write")
        tighten.setdefault(tool, {})["effects"] = effects
    for tool in options["not_idempotent"]:
        tighten.setdefault(tool, {})["idempotent"] = False
    return tighten


def _described(name: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """Start the server in its sandbox, or connect to it, and return what it says of itself."""
    least = peek("EXECUTOR_MIN_ISOLATION") or "basic"
    asked = {
        "name": name,
        "mcp": record["mcp"],
        "env": list(record.get("env", ())),
        "allowed_hosts": peek("ARM_ALLOWED_HOSTS"),
        "local_targets": peek("ARM_LOCAL_TARGETS"),
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "workers.mcp", least],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=_LIST_SECONDS,
            check=True,
        )
        described: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        raise SettingsError(f"the MCP server {name} could not be asked: {error}") from error
    if "error" in described:
        said = _printable(str(described.get("said", ""))[-1_000:])
        raise SettingsError(described["error"] + (f"; it wrote: {said}" if said else ""))
    return described


def _report(arm: McpArm, made: FrozenTools) -> None:
    for name, action in made.actions.items():
        once = "" if action["idempotent"] else ", not run twice"
        click.echo(f"{arm.name}.{name}: {action['effects']}{once}")
    for warning in made.warnings:
        click.echo(f"warning: {_printable(warning)}", err=True)
    click.echo(f"{len(made.actions)} tools are frozen in {arm.directory}")
    if str(arm.directory.parent.absolute()) not in map(os.path.abspath, _paths()):
        click.echo(f"set ARMS_PATH={arm.directory.parent} so that it is used", err=True)


def _listed(arm: McpArm) -> dict[str, Any]:
    table = arm.record()["mcp"]
    actions = json.loads((arm.directory / "actions.json").read_text("utf-8"))
    return {
        "name": arm.name,
        "server": table.get("url") or " ".join(table["command"]),
        "sha256": table.get("frozen", {}).get("sha256", ""),
        "changed": arm.pending() is not None,
        "actions": {name: action["effects"] for name, action in actions.items()},
    }


def _arms() -> list[McpArm]:
    found = [McpArm(path.parent) for path in sorted(_directory().glob(f"*/{MANIFEST}"))]
    return [arm for arm in found if "[mcp]" in (arm.directory / MANIFEST).read_text("utf-8")]


def _directory() -> Path:
    directory = Path((_paths() or ["arms"])[0])
    if (directory / MANIFEST).is_file():
        raise SettingsError(
            f"{directory}, the first directory of ARMS_PATH, is one arm: name a directory of arms before it"
        )
    return directory


def _paths() -> list[str]:
    return [text.strip() for text in peek("ARMS_PATH").split(os.pathsep) if text.strip()]


def _printable(text: str) -> str:
    """Return untrusted text without control characters, which could rewrite what the terminal shows."""
    return "".join(
        character if character.isprintable() else "\ufffd" for character in text.replace("\n", " ")
    )
