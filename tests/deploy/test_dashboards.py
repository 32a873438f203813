"""The dashboards of deploy/grafana can be imported into any Grafana, and each panel says what it shows."""

import re
from collections import Counter
from itertools import chain
from typing import Any

import pytest

from tests.deploy.test_metrics import DASHBOARDS

DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24
_VARIABLE = re.compile(r"\$(?!__)(\w+)")
# grafana.com/docs: units of the kinds that our metrics have
UNITS = {"none", "short", "s", "cpm", "reqps", "percentunit", "currencyUSD"}


def panels_of(name: str) -> list[dict[str, Any]]:
    """Return the panels that are no rows."""
    return [panel for panel in DASHBOARDS[name]["panels"] if panel["type"] != "row"]


def cells_of(panel: dict[str, Any]) -> list[tuple[int, int]]:
    """Return the cells of the grid that a panel covers."""
    at = panel["gridPos"]
    return [(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])]


def test_there_is_a_dashboard_for_each_subject() -> None:
    titles = {dashboard["title"] for dashboard in DASHBOARDS.values()}

    assert set(DASHBOARDS) == {"overview", "arms", "models", "cache", "api"}
    assert len(titles) == len(DASHBOARDS)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_replaces_no_other_and_asks_for_its_data_source(name: str) -> None:
    dashboard = DASHBOARDS[name]
    variables = dashboard["templating"]["list"]

    # Grafana chooses a uid and an id at the import
    assert not {"uid", "id"} & set(dashboard)
    assert (variables[0]["name"], variables[0]["type"]) == ("datasource", "datasource")
    assert all(variable["datasource"] == DATA_SOURCE for variable in variables[1:])
    assert all(
        source == DATA_SOURCE
        for panel in panels_of(name)
        for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"]))
    )


@pytest.mark.parametrize("name", DASHBOARDS)
def test_each_panel_says_what_it_shows_and_in_which_unit(name: str) -> None:
    for panel in panels_of(name):
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["targets"], panel["title"]
        # a fixed interval shows nothing where Prometheus scrapes less often
        assert all(
            "rate(" not in target["expr"] or "$__rate_interval" in target["expr"]
            for target in panel["targets"]
        )


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_stand_in_rows_and_do_not_overlap(name: str) -> None:
    panels = DASHBOARDS[name]["panels"]

    covered = Counter(chain.from_iterable(cells_of(panel) for panel in panels))

    assert panels[0]["type"] == "row"
    assert max(covered.values()) == 1
    assert max(x for x, _ in covered) < COLUMNS
    assert len({panel["id"] for panel in panels}) == len(panels)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_variable_that_a_panel_uses_is_defined(name: str) -> None:
    defined = {variable["name"] for variable in DASHBOARDS[name]["templating"]["list"]}

    for panel in panels_of(name):
        for target in panel["targets"]:
            assert set(_VARIABLE.findall(target["expr"])) <= defined, target["expr"]
