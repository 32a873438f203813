"""A manifest that is wrong stops the start, with the file, the line and what to write."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.devserver.service import read_procfile
from orchestrator.models.errors import SettingsError
from orchestrator.registry.manifest import MAX_BYTES, read_manifests
from orchestrator.registry.manifest_check import MAX_FAULTS
from orchestrator.registry.manifest_keys import ACTION, ARM, WORKER
from orchestrator.registry.sources import REGISTRY
from orchestrator.registry.written_lines import line_of

RIGHT = """\
arm_id = "weather"
name = "Weather"
description = "Tells tomorrow's weather of a city"
env = ["WEATHER_API_KEY"]

[worker]
module = "weather_arm"
pool = "threads"

[actions.forecast]
description = "Forecasts the weather."
effects = "read"
idempotent = true
timeout_seconds = 10
input = { city = "string" }
output = { summary = "string" }
"""
FAULTS = [
    ("name", 'naem = "W"\nname', 2, "naem is an unknown key: did you mean name?"),
    ("pool", 'poll = "x"\npool', 8, "worker.poll is an unknown key: did you mean pool?"),
    ("effects", "xyz = 1\neffects", 12, "actions.forecast.xyz is an unknown key: the keys here are description"),
    ("pool =", "saves_rounds = true\npool =", 8, "worker.saves_rounds is for built-in arms only"),
    ('arm_id = "weather"\n', "", 1, "arm_id is missing: it must be 3 to 40 of"),
    ('effects = "read"\n', "", 10, 'actions.forecast.effects is missing: it must be "none", "read"'),
    ('module = "weather_arm"\n', "", 6, 'worker.module is missing: write module = "..." in [worker]'),
    ('"Weather"', "7", 2, "name must be a text of 3 to 50 characters"),
    ('"weather"', '"Weather!"', 1, "arm_id must be 3 to 40 of a-z"),
    ('"weather"', '"acme/crm"', 1, "arm_id must be 3 to 40 of a-z"),
    ("Tells tomorrow's weather of a city", "short", 3, "description must be a text of 10 to 200"),
    ('"threads"', '"gevent"', 8, 'worker.pool must be "threads" or "prefork"'),
    ('"read"', '"reads"', 12, 'actions.forecast.effects must be "none"'),
    ("true", '"yes"', 13, "actions.forecast.idempotent must be true or false"),
    ("= 10", "= -1", 14, "actions.forecast.timeout_seconds must be a number of seconds above 0"),
    ("= 10", "= true", 14, "actions.forecast.timeout_seconds must be a number"),
    ("= 10", "= nan", 14, "actions.forecast.timeout_seconds must be a number"),
    ("[actions.forecast]", '[actions."fore cast"]', 10, "actions.fore cast must be named by 1 to 128"),
    ('["WEATHER_API_KEY"]', '["a b"]', 4, "env must be a list of names of environment variables"),
    ('city = "string"', 'city = "strong"', 15, "actions.forecast.input names a type that neither"),
    ('city = "string"', "city = 3", 15, "actions.forecast.input a type is a name, a table or"),
    ("input = {", 'input = "number" #', 15, "actions.forecast.input must describe an object"),
    ("input =", "input_schema = {}\ninput =", 16, "actions.forecast.input is written twice"),
    ("input = {", "input_schema = { type = 3 } #", 15, "actions.forecast.input_schema is wrong: not a JSON Schema"),
    ("{ summary", '{ x = { type = "string", pattern = "(?=a)" } } #', 16, "actions.forecast.output is wrong: pattern"),
    ("env =", "env ==", 4, "is not TOML: Invalid value"),
    ("output = {", 'output = """', 17, "is not TOML: Unterminated string"),
    ("module", 'queue = "judge"\nmodule', 7, "worker.queue is 'judge', which a built-in arm has: choose another"),
    ('"weather"', '"coder"', 1, "arm_id is 'coder', which a built-in arm has"),
    ('"weather"', '"guardian"', 1, "arm_id is 'guardian', which a built-in arm has"),
    ('"weather"', '"sweeper"', 1, "arm_id is 'sweeper', which a kind of process has"),
    ('arm_id = "weather"', 'arm_id = "weather"\nkind = "http"', 1, "url is missing: write url"),
    ('arm_id = "weather"', 'arm_id = "weather"\nkind = "human"', 2, 'kind must be "function", "http" or "mcp"'),
]  # fmt: skip


@pytest.fixture(autouse=True)
def own_search_path() -> Iterator[None]:
    """Take back what the test adds to sys.path."""
    before = list(sys.path)
    yield
    sys.path[:] = before


def write(directory: Path, text: str, name: str = "arm.toml") -> Path:
    """Write a file of an arm, in a directory of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text(text)
    return directory / name


def refusal(*directories: Path) -> str:
    """Return the message with which these directories stop the start."""
    with pytest.raises(SettingsError) as refused:
        list(read_manifests(REGISTRY, os.pathsep.join(map(str, directories))))
    return refused.value.message


def test_the_manifest_that_the_faults_are_put_into_is_right(tmp_path: Path) -> None:
    write(tmp_path, RIGHT)

    *_, record = read_manifests(REGISTRY, str(tmp_path))

    assert record["arm_id"] == "weather"


@pytest.mark.parametrize(("right", "wrong", "line", "message"), FAULTS, ids=[fault[3] for fault in FAULTS])
def test_a_fault_is_named_with_its_line(
    tmp_path: Path, right: str, wrong: str, line: int, message: str
) -> None:
    assert right in RIGHT
    path = write(tmp_path, RIGHT.replace(right, wrong, 1))

    assert f"{path}:{line}: {message}" in refusal(tmp_path)


@pytest.mark.parametrize("line", read_procfile())
def test_an_arm_can_not_have_the_name_of_a_line_of_the_procfile_or_its_queue(
    tmp_path: Path, line: str
) -> None:
    path = write(tmp_path, RIGHT.replace('"weather"', f'"{line}"'))
    assert f"{path}:1: arm_id is '{line}', which" in refusal(tmp_path)

    for queue in re.findall(r"-Q (arm\.\w+)", read_procfile()[line]):
        write(tmp_path, RIGHT.replace("module", f'queue = "{queue}"\nmodule'))
        assert f"{path}:7: worker.queue is '{queue}', which" in refusal(tmp_path)


def test_all_faults_are_told_at_once_up_to_a_bound(tmp_path: Path) -> None:
    path = write(tmp_path, "".join(f"x{number} = 1\n" for number in range(100)) + RIGHT)

    told = refusal(tmp_path).splitlines()

    assert len(told) == MAX_FAULTS
    assert told[1].startswith(f"{path}:2: x1 is an unknown key")


def test_two_sources_with_the_same_arm_or_queue_stop_the_start(tmp_path: Path) -> None:
    write(tmp_path / "a", RIGHT)
    second = write(tmp_path / "b", RIGHT)
    assert f"{second}:1: arm_id is 'weather', which {tmp_path / 'a' / 'arm.toml'} has" in refusal(
        tmp_path / "a", tmp_path / "b"
    )

    third = write(
        tmp_path / "c", RIGHT.replace('"weather"', '"crm"').replace("module", 'queue = "arm.weather"\nmodule')
    )
    assert f"{third}:7: worker.queue is 'arm.weather'" in refusal(tmp_path / "a", tmp_path / "c")


def test_faults_in_the_file_of_actions_have_its_lines(tmp_path: Path) -> None:
    write(tmp_path, RIGHT.partition("[actions")[0])
    path = write(tmp_path, '{\n "now": {\n  "description": "x",\n  "effects": "all"\n }\n}', "actions.json")
    assert f'{path}:4: now.effects must be "none", "read"' in refusal(tmp_path)

    write(tmp_path, '{"now":\n 3}', "actions.json")
    assert f"{path}:1: now must be a table" in refusal(tmp_path)

    write(tmp_path, '{"now":\n', "actions.json")
    assert f"{path}:2: is not JSON" in refusal(tmp_path)

    write(tmp_path, "[]", "actions.json")
    assert f"{path}:1: must be an object" in refusal(tmp_path)


def test_a_module_that_can_not_be_imported_stops_the_start_and_says_what_helps(tmp_path: Path) -> None:
    path = write(tmp_path, RIGHT.partition("[actions")[0])
    write(tmp_path, "import a_library_that_is_not_installed", "weather_arm.py")

    told = refusal(tmp_path)

    assert told.startswith(f"{path} states no actions, and its module weather_arm can't be imported")
    assert "ModuleNotFoundError: No module named 'a_library_that_is_not_installed'" in told
    assert "actions.json, which `octollm arm freeze` writes" in told


@pytest.mark.parametrize("module", ["json", "click", "workers"])
def test_a_module_can_not_take_the_place_of_another_one(tmp_path: Path, module: str) -> None:
    path = write(tmp_path, RIGHT.replace("weather_arm", module))
    write(tmp_path, "", f"{module}.py")

    assert f"{path}:7: worker.module names {module}, which is another module, too: rename" in refusal(
        tmp_path
    )


def test_a_manifest_that_is_built_to_hurt_is_refused_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "x = " + "[" * 100_000)
    assert refusal(tmp_path).startswith(f"{path}:1: is not TOML")

    write(tmp_path, RIGHT + "#" * MAX_BYTES)
    assert refusal(tmp_path) == f"{path} has more than 1,048,576 bytes: split the arm"

    path.write_bytes(b"\xff")
    assert "can't be read as UTF-8" in refusal(tmp_path)

    itself = RIGHT + '\n[types]\nloop = { members = { next = "loop" } }\n'
    write(tmp_path, itself.replace('city = "string"', 'city = "loop"'))
    assert f"{path}:15: actions.forecast.input a type is defined by itself" in refusal(tmp_path)


def test_types_that_grow_are_refused(tmp_path: Path) -> None:
    types = ["t0 = { members = { a = 'string' } }"]
    types += [
        f"t{number} = {{ members = {{ a = 't{number - 1}', b = 't{number - 1}' }} }}"
        for number in range(1, 60)
    ]
    path = write(tmp_path, RIGHT.replace('{ city = "string" }', '"t59"') + "[types]\n" + "\n".join(types))

    assert f"{path}:15: actions.forecast.input the types have more than 20,000 parts" in refusal(tmp_path)


def test_lines_are_found_in_every_way_to_write_a_table() -> None:
    text = '[a]\nb.c = 1\n"d e" = { f = 2 }\n\n[[g]]\nh = 1\n[a.x."y z"] # why\nk = """\nb = 1"""\n'
    file = Path("arm.toml")

    lines = {
        place: line_of(text, place.split("/"), file=file)
        for place in ("a/b/c", "a/d e/f", "g/h", "a/x/y z/k", "q")
    }

    assert lines == {"a/b/c": 2, "a/d e/f": 3, "g/h": 6, "a/x/y z/k": 8, "q": 1}
    assert re.fullmatch(r"\d+", str(line_of("\n" * 10, ["a"], file=file)))


def test_the_reference_names_every_key_that_a_manifest_may_have() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "manifests.md").read_text()
    sections = re.split(r"^##+ ", page, flags=re.MULTILINE)
    for title, keys in (("The arm", ARM), ("`[worker]`", WORKER), ("`[actions.NAME]`", ACTION)):
        (section,) = [text for text in sections if text.startswith(title)]
        named = {
            name
            for row in re.findall(r"^\|([^|]*`[^|]*)\|", section, re.MULTILINE)
            for name in re.findall(r"`(\w+)`", row)
        }
        assert named == {name for name, key in keys.items() if not key.ours}
