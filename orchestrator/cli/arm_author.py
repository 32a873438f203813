"""What the author of an arm runs: `octollm arm new`, `check`, `try` and `freeze`."""

import json
import os
import sys
import tomllib
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from orchestrator.cli import arm_template
from orchestrator.cli.exit_status import ExitStatus
from orchestrator.cli.output import json_text
from orchestrator.models.errors import SettingsError
from orchestrator.registry import sources
from orchestrator.registry.manifest import read_manifest, read_manifests, read_types
from orchestrator.registry.manifest_keys import ARM_ID
from orchestrator.registry.sources import MANIFEST, REGISTRY, Source

_ORIGIN = "ARMS_PATH"
_PLACE = click.argument("path", type=click.Path(exists=True, path_type=Path))


class _Unfrozen(Source):
    """A manifest whose actions are those of its module, whatever a file beside it states."""

    @property
    def actions_path(self) -> Path:
        return self.path.with_name(f".{self.path.name}.no-actions")


@click.command()
@click.argument("name")
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("arms"),
    show_default=True,
    help="The directory of your arms; ARMS_PATH names it.",
)
def new(name: str, *, directory: Path) -> None:
    """Write a new arm NAME: manifest, function, test and README, which run as they are."""
    module = name.replace("-", "_")
    if not ARM_ID.fullmatch(name):
        raise click.UsageError(
            f"an arm's name is 3 to 40 of a-z, 0-9, _ and -, starting with a letter, not {name!r}"
        )
    if module in sys.stdlib_module_names or find_spec(module) is not None:
        raise click.UsageError(
            f"{module} is the name of another Python module: take another name, such as {name}-arm"
        )
    place = directory / name
    if place.exists():
        raise click.UsageError(f"{place} exists: take another name, or remove it")
    values = {
        "arm_id": name,
        "module": module,
        "variable": module.upper(),
        "path": place,
        "directory": directory,
    }
    place.mkdir(parents=True)
    for file, template in (
        (MANIFEST, arm_template.MANIFEST),
        (f"{module}.py", arm_template.FUNCTIONS),
        (f"test_{module}.py", arm_template.TEST),
        ("README.md", arm_template.README),
    ):
        (place / file).write_text(template.substitute(values), "utf-8")
        click.echo(place / file)
    click.echo(
        f'Next: octollm arm try {name}.count_words \'{{"text": "to be or not to be"}}\' --dir {directory}'
    )


@click.command()
@_PLACE
def check(path: Path) -> ExitStatus:
    """Check the arms in PATH (a directory of arms, one arm, or a manifest): exit status 1 if one is wrong.

    What is wrong is printed as FILE:LINE: MESSAGE. The arms' modules are imported.
    """
    faults, shared = list[str](), read_types(REGISTRY)
    for source in _sources(path):
        try:
            record = read_manifest(source, shared)
            faults += _drift(source, record, shared)
        except SettingsError as error:
            faults.append(error.message)
        else:
            names = ", ".join(record["actions"])
            click.echo(f"{source.path}: arm {record['arm_id']}: {names}")
    if not faults and path.is_dir():
        try:
            list(read_manifests(REGISTRY, str(path)))
        except SettingsError as error:
            faults.append(error.message)
    for fault in faults:
        click.echo(fault, err=True)
    return ExitStatus.FAILED if faults else ExitStatus.OK


@click.command()
@_PLACE
def freeze(path: Path) -> None:
    """Write the actions of the function arms in PATH to actions.json, so that only their own processes import them."""
    shared, is_any = read_types(REGISTRY), False
    for source in _sources(path):
        unfrozen = read_manifest(_Unfrozen(source.path, source.origin), shared)
        if unfrozen["kind"] != "function":
            continue
        is_any = True
        text = json_text(_stated(unfrozen["actions"])) + "\n"
        temporary = source.actions_path.with_name(f".{source.actions_path.name}.new")
        temporary.write_text(text, "utf-8")
        temporary.replace(source.actions_path)
        click.echo(f"{source.actions_path}: {', '.join(unfrozen['actions'])}")
    if not is_any:
        raise SettingsError(
            f"{path} has no function arm: actions of other arms are stated in their manifests"
        )


@click.command("try")
@click.argument("name", metavar="ARM.ACTION")
@click.argument("inputs", default="{}")
@click.option(
    "--dir",
    "directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the arm is, besides ARMS_PATH.  [default: arms, if there is such a directory]",
)
@click.option(
    "--file",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file that the step attaches; may be repeated.",
)
@click.option(
    "--save",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the files that the action saves into this directory.",
)
def try_action(
    name: str, inputs: str, *, directory: Path | None, files: tuple[Path, ...], save: Path | None
) -> ExitStatus:
    """Run one action of a function arm here, without servers and workers; INPUTS is a JSON object.

    Its output is printed as JSON, its progress on stderr. A question to a model is asked with the models of the
    settings.
    """
    arm_id, _, action = name.partition(".")
    source = _source_of(arm_id, directory)
    record = read_manifest(source, read_types(REGISTRY))
    if record["kind"] != "function":
        raise click.UsageError(f"{arm_id} is no function arm: octollm run it, with octollm up")
    if action not in record["actions"]:
        raise click.UsageError(f"{arm_id} has no action {action!r}; it has {', '.join(record['actions'])}")
    given = _read_inputs(inputs)
    # other commands of this file need neither pydantic nor the models
    from orchestrator.cli.arm_trial import trial_of  # noqa: PLC0415

    trial = trial_of(record, action, files=files, save=save)
    try:
        output = trial.run(given)
    except Exception as error:
        # the author's own error: where it was raised matters, and nobody else reads it
        if trial.is_accident(error):
            traceback.print_exception(error, limit=-3)
        click.echo(f"{name}: {trial.describe(error)}", err=True)
        return ExitStatus.FAILED
    click.echo(json_text(output))
    return ExitStatus.OK


def _sources(path: Path) -> list[Source]:
    found = (
        [Source(path.absolute(), _ORIGIN)]
        if path.is_file()
        else [source for source in sources.find(REGISTRY, str(path)) if source.origin == _ORIGIN]
    )
    if not found:
        raise SettingsError(
            f"{path} has no {MANIFEST}, and no directory with one: octollm arm new NAME writes one"
        )
    return found


def _source_of(arm_id: str, directory: Path | None) -> Source:
    places = [directory] if directory else [Path("arms")]
    stated = os.pathsep.join(
        [*(str(place) for place in places if place.is_dir()), os.environ.get("ARMS_PATH", "")]
    )
    found = [source for source in sources.find(REGISTRY, stated) if not source.is_built_in]
    for source in found:
        if _named(source) == arm_id:
            return source
    known = ", ".join(sorted(filter(None, map(_named, found)))) or "none"
    raise click.UsageError(
        f"there is no arm {arm_id!r} here; there are: {known}. Name the directory of the arm with --dir or ARMS_PATH"
    )


def _named(source: Source) -> str:
    """Return the id in a manifest, without a check of the rest; "" for a file that is no TOML."""
    with suppress(OSError, ValueError):
        return str(tomllib.loads(source.path.read_text("utf-8")).get("arm_id", ""))
    return ""


def _drift(source: Source, record: Mapping[str, Any], shared: Mapping[str, Any]) -> Iterator[str]:
    """Yield a fault when the stated actions of a function arm are not those of its module."""
    if record["kind"] != "function" or not source.actions_path.is_file():
        return
    real = _stated(read_manifest(_Unfrozen(source.path, source.origin), shared)["actions"])
    stated = json.loads(json.dumps(_stated(record["actions"])))
    names = [
        name for name in {**stated, **real} if stated.get(name) != json.loads(json.dumps(real.get(name)))
    ]
    if names:
        yield (
            f"{source.actions_path}:1: states {', '.join(names)} otherwise than the functions: run "
            f"`octollm arm freeze {source.path.parent}`"
        )


def _stated(actions: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {key: value for key, value in action.items() if value is not None}
        for name, action in actions.items()
    }


def _read_inputs(text: str) -> dict[str, Any]:
    try:
        given = json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"INPUTS is no JSON: {error}") from error
    if not isinstance(given, dict):
        raise click.UsageError('INPUTS must be a JSON object, such as \'{"city": "Berlin"}\'')
    return given
