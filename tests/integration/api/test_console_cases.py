"""The cases that the console's reducer is tested with are what the server writes today."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.integration.api.conftest import Caller
from tests.integration.api.console_scenarios import SCENARIOS, Observer, early, replan
from tests.integration.early_kit import Office
from tests.integration.kit import Engineer
from tests.integration.replan_kit import Replanner
from tests.ledger import Ledger

CASES = Path(__file__).parents[2] / "console" / "cases"
_WRITES = "OCTOLLM_WRITE_CASES"
_VARYING = {
    "approval_id", "approvals", "deadline_at", "decided_at", "delay_seconds", "duration_ms", "expires_at", "plan_id",
    "proposal_hash", "retry_of", "step_id", "stopped", "task_id", "timestamp",
}  # fmt: skip
_STOPS = ("step.failed", "step.skipped")
_IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|(appr|task)_[A-Za-z0-9]+|\d{4}-\d\d-\d\d[T ][0-9:.+]+")


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_case_is_what_the_server_writes(
    name: str, engineer: Engineer, call: Caller, ledger: Ledger
) -> None:
    you = Observer(engineer, call)

    SCENARIOS[name](you)

    _assert_recorded(name, you)


def test_the_case_of_a_second_plan_is_what_the_server_writes(
    engineer: Engineer, call: Caller, replanner: Replanner
) -> None:
    you = Observer(engineer, call)

    replan(you, replanner)

    _assert_recorded("replan", you)


def test_the_case_of_early_steps_is_what_the_server_writes(
    engineer: Engineer, call: Caller, office: Office
) -> None:
    you = Observer(engineer, call)

    early(you, office)

    _assert_recorded("early", you)


def _assert_recorded(name: str, you: Observer) -> None:
    """Compare what happened with the case; with OCTOLLM_WRITE_CASES=1 write the case first."""
    path, case = CASES / f"{name}.json", you.case()
    if os.environ.get(_WRITES):
        path.write_text(_lines(case))
    recorded = json.loads(path.read_text())
    assert _alike(recorded) == _alike(case), f"if the change is meant, run this test with {_WRITES}=1"


def _lines(case: dict[str, Any]) -> str:
    """Return a case as JSON with one line for each event and status."""
    events = ",\n".join(json.dumps(event) for event in case["events"])
    statuses = ",\n".join(f"{json.dumps(seq)}: {json.dumps(seen)}" for seq, seen in case["statuses"].items())
    return f'{{"events": [\n{events}\n],\n"statuses": {{\n{statuses}\n}}}}\n'


def _alike(case: dict[str, Any]) -> tuple[list[Any], Any]:
    """Return a case's events and statuses without what differs between two runs."""
    told = [{**_fixed(event), "seq": 0} for event in case["events"]]
    # the steps that an end stops are told in the order of their ids
    stops = {place: event for place, event in enumerate(told) if event["type"] in _STOPS}
    for place, event in zip(stops, sorted(stops.values(), key=str), strict=True):
        told[place] = event
    return told, _fixed(case["statuses"])


def _fixed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: "*" if name in _VARYING else _fixed(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_fixed(item) for item in value]
    return _IDS.sub("*", value) if isinstance(value, str) else value
