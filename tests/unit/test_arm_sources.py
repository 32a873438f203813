"""Arms of one's own: manifests in ARMS_PATH and in installed packages become arms like the built-in ones."""

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.models.arm_capability import ARMS, ArmCapability, ArmRegistry, arm_of
from orchestrator.models.errors import SettingsError
from orchestrator.registry import sources
from orchestrator.registry.manifest import read_manifests
from orchestrator.registry.sources import REGISTRY
from tests.plug_in_arms import added
from workers.__main__ import options_of_arms
from workers.runtime.startup_checks import require_functions
from workers.sandbox.selection import NOT_TESTED

WEATHER = """
arm_id = "weather"
description = "Tells tomorrow's weather of a city"

[worker]
module = "weather_arm"

[actions.forecast]
description = "Forecasts the weather."
effects = "read"
input = { city = "string" }
output = { summary = "string" }
"""

PREDICTS = """
from orchestrator.sdk import action

@action(effects="none")
def predict(city: str) -> str:
    'Predicts.'
    return city
"""


@pytest.fixture(autouse=True)
def own_search_path() -> Iterator[None]:
    """Take back what the test adds to sys.path."""
    before = list(sys.path)
    yield
    sys.path[:] = before


def place(directory: Path, name: str, text: str) -> Path:
    """Write a file below a directory; return the directory."""
    (directory / name).parent.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text(text)
    return directory


def load(*directories: Path) -> dict[str, ArmCapability]:
    """Return the plug-ins' arms that ARMS_PATH with these directories adds."""
    arms_path = os.pathsep.join(map(str, directories))
    arms = ArmRegistry(arm_of(record) for record in read_manifests(REGISTRY, arms_path))
    return {arm.arm_id: arm for arm in arms.values() if arm.arm_id not in ARMS}


@pytest.mark.parametrize("name", ["weather/arm.toml", "weather.toml", "arm.toml"])
def test_a_short_manifest_in_a_directory_is_an_arm(tmp_path: Path, name: str) -> None:
    arm = load(place(tmp_path, name, WEATHER))["weather"]

    assert (arm.kind, arm.queue, arm.process, arm.pool) == ("function", "arm.weather", "arms", "threads")
    assert (arm.name, arm.version, arm.in_plans, arm.is_required) == ("Weather", "1.0.0", True, False)
    assert (arm.source, arm.max_concurrent_tasks, arm.capabilities) == ("ARMS_PATH", 4, ("forecast",))
    forecast = arm.actions["forecast"]
    assert forecast.input_schema["required"] == ["city"]
    assert (forecast.timeout_seconds, forecast.max_age_seconds, forecast.deterministic) == (60.0, 0, False)


def test_several_directories_are_searched_in_turn(tmp_path: Path) -> None:
    first = place(tmp_path / "a", "weather/arm.toml", WEATHER)
    second = place(tmp_path / "b", "crm.toml", WEATHER.replace("weather", "crm"))

    assert list(load(first, second)) == ["weather", "crm"]


def test_a_write_happens_once_unless_the_manifest_says_that_it_may_be_repeated(tmp_path: Path) -> None:
    writes = WEATHER.replace('"read"', '"write"')
    stated = writes.replace('effects = "write"', 'effects = "write"\nidempotent = true')

    assert load(place(tmp_path / "a", "arm.toml", writes))["weather"].actions["forecast"].runs_once
    assert not load(place(tmp_path / "b", "arm.toml", stated))["weather"].actions["forecast"].runs_once


def test_actions_may_be_stated_in_a_file_beside_the_manifest(tmp_path: Path) -> None:
    alone = WEATHER.partition("[actions")[0]
    place(tmp_path, "weather/arm.toml", alone)
    place(
        tmp_path,
        "weather/actions.json",
        '{"now": {"description": "Tells it.", "effects": "none", "input_schema": {"type": "object"}}}',
    )

    action = load(tmp_path)["weather"].actions["now"]

    assert (action.input_schema, action.deterministic) == ({"type": "object"}, True)


@pytest.mark.parametrize("package", ["sky", "sky.arms.weather"])
def test_an_installed_package_offers_an_arm_without_being_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    directory = package.replace(".", "/")
    for parent in ("sky", "sky/arms", directory):
        place(tmp_path, f"{parent}/__init__.py", "raise RuntimeError('imported')")
    place(tmp_path, f"{directory}/arm.toml", WEATHER.replace("weather_arm", "sky.functions"))
    place(tmp_path, "sky_arms-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: sky-arms\nVersion: 1\n")
    place(tmp_path, "sky_arms-1.dist-info/entry_points.txt", f"[octollm.arms]\nweather = {package}\n")
    monkeypatch.syspath_prepend(tmp_path)

    arm = load()["weather"]

    assert (arm.source, arm.module) == ("package sky-arms", "sky.functions")


def test_what_leads_to_no_manifest_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="missing, which is not a directory"):
        load(tmp_path / "missing")
    place(tmp_path, "sky_arms-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: sky-arms\nVersion: 1\n")
    place(tmp_path, "sky_arms-1.dist-info/entry_points.txt", "[octollm.arms]\nweather = nowhere.at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingsError, match=r"weather = nowhere.at_all .* must name a package"):
        load()


def test_every_change_of_a_plug_in_changes_its_digest(tmp_path: Path) -> None:
    def digest(where: str, *, manifest: str = WEATHER, code: str = "one") -> str:
        directory = place(place(tmp_path / where, "w/arm.toml", manifest), "w/weather_arm.py", code)
        try:
            return load(directory)["weather"].contract_digest
        finally:
            sys.path.remove(str(directory / "w"))

    same = {digest("a"), digest("b")}

    assert len(same) == 1
    assert digest("c", code="two") not in same
    assert digest("d", manifest=WEATHER.replace('"read"', '"none"')) not in same


def test_the_code_that_a_manifest_names_beside_it_is_in_its_digest(tmp_path: Path) -> None:
    place(tmp_path, "sky.toml", WEATHER.replace("weather_arm", "clouds.functions"))
    place(tmp_path, "clouds/__init__.py", "")
    place(tmp_path, "other.py", "")
    first = load(tmp_path)["weather"].contract_digest

    place(tmp_path, "other.py", "changed")
    same = load(tmp_path)["weather"].contract_digest
    place(tmp_path, "clouds/functions.py", "changed")

    assert same == first
    assert load(tmp_path)["weather"].contract_digest != first


def test_a_directory_with_much_more_than_an_arm_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MAX_FILES", 10)
    place(tmp_path, "arm.toml", WEATHER)
    for name in ("venv/pyvenv.cfg", *(f"venv/m{number}.py" for number in range(10)), ".git/x.py"):
        place(tmp_path, name, "")
    assert load(tmp_path)

    for number in range(10):
        place(tmp_path, f"data/{number}.json", "")
    with pytest.raises(SettingsError, match="more than 10 files"):
        load(tmp_path)


def test_arms_that_are_registered_at_run_time_are_found_but_change_nothing_static() -> None:
    theirs = replace(ARMS["executor"], arm_id="acme/crm", tenant="acme")
    arms = ArmRegistry(ARMS.values())

    class Registered:
        def find(self, arm_id: str) -> ArmCapability | None:
            return theirs if arm_id == "acme/crm" else None

        def visible(self, tenant: str) -> list[ArmCapability]:
            return [theirs] if tenant == "acme" else []

    arms.attach(Registered())

    assert arms["acme/crm"] is theirs
    assert list(arms) == list(ARMS) == list(arms.visible("umbrella")) == list(arms.visible(None))
    assert list(arms.visible("acme")) == [*ARMS, "acme/crm"]
    assert "acme/other" not in arms


@pytest.mark.parametrize(
    ("arm_id", "code", "reason"),
    [
        ("lacking", PREDICTS, "has no action forecast, which its contract states"),
        ("broken", "import a_library_that_is_not_there", "can't be imported: ModuleNotFoundError: No module"),
    ],
)
def test_functions_without_an_action_of_the_contract_are_refused(
    tmp_path: Path, arm_id: str, code: str, reason: str
) -> None:
    text = WEATHER.replace('"weather"', f'"{arm_id}"').replace("weather_arm", f"{arm_id}_arm")
    place(tmp_path, "arm.toml", text)
    place(tmp_path, f"{arm_id}_arm.py", code)
    arm = load(tmp_path)[arm_id]

    with added(arm), pytest.raises(SettingsError) as refused:
        require_functions(arm, sandbox=NOT_TESTED)

    assert f"the module {arm_id}_arm of the arm {arm_id} (ARMS_PATH) {reason}" in refused.value.message


def test_a_worker_of_arms_gets_queues_pool_and_slots_of_their_manifests() -> None:
    assert options_of_arms(["--arms", "retriever, guardian", "-n", "a@%h"]) == [
        "-Q", "arm.retriever,arm.guardian", "-P", "threads", "-c", "16", "-n", "a@%h",
    ]  # fmt: skip
    assert options_of_arms(["-c", "3", "--arms", "coder"])[-2:] == ["-c", "3"]
    assert options_of_arms(["-Q", "webhook"]) == ["-Q", "webhook"]


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ("weathr", "names weathr; the arms are"),
        ("human", "names human; the arms are"),
        ("", "no arm"),
        ("coder,judge", "same pool"),
    ],
)
def test_a_worker_of_arms_that_it_can_not_serve_does_not_start(arms: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        options_of_arms(["--arms", arms])
