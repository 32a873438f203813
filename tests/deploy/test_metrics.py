"""Every metric and label in the dashboards, the alerts and the documentation exists in the scrape of a busy stack."""

import json
import re
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.devserver.stack import Stack
from tests.acceptance.client import Client
from tests.acceptance.conftest import client_of
from tests.acceptance.model_stack import asking
from tests.acceptance.plans import verify, wait
from tests.deploy.conftest import ROOT, RunTool
from tests.deploy.test_prometheus import RULES
from tests.fake_llm.command import read_script
from tests.fake_llm.server import FakeLLM
from tests.waiting import wait_until

DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted(ROOT.glob("deploy/grafana/*.json"))}
EXAMPLES = ROOT / "examples"
PAGE = (ROOT / "docs" / "reference" / "metrics.md").read_text()
# the key of Amazon's own documentation
LEAK = "Keep the key AKIAIOSFODNN7EXAMPLE to yourself"
# `up` comes from Prometheus, and so do the labels of a target
OF_PROMETHEUS = {"up": {"job", "instance"}}
OF_A_TARGET = {"job", "instance"}
_ROW = re.compile(r"^\| (`[^|]+) \|", re.MULTILINE)
_NAME = re.compile(r"`([a-z_]+)(?:\{([a-z,]+)\})?`")
_LEGEND = re.compile(r"\{\{(\w+)\}\}")

Scrape = Mapping[str, set[str]]


def _work(client: Client, fake: FakeLLM) -> None:
    """Let the stack do what its metrics count."""
    plan = {"steps": [verify("v", 1, {"equals": 1})]}
    client.run("Compare the numbers", plan=plan)
    again = client.call("POST", "/v1/tasks", {"goal": "Compare the numbers", "plan": plan})
    client.call("POST", f"/v1/tasks/{again.body['task_id']}/feedback", {"verdict": "wrong_hit"})
    client.run(LEAK, plan={"steps": [wait("w")]})
    client.run("Wait for long", plan={"steps": [wait("w", 60)]}, budget={"max_time_seconds": 1})
    fake.add(*read_script(EXAMPLES / "fake_model.json"))
    manual = client.upload((EXAMPLES / "manual.md").read_bytes(), filename="manual.md")
    client.run("When is a late delivery refunded?", attachments=[manual])
    client.call("GET", "/v1/tasks/unknown")


def _cut_off(stack: Stack) -> None:
    """End each subscription in Redis, so that the threads that listen fail once."""
    with redis.Redis.from_url(stack.redis_url) as client:
        client.client_kill_filter(_type="pubsub")


def _scrape(stack: Stack) -> str:
    with urllib.request.urlopen(f"{stack.url}/metrics", timeout=30) as reply:
        return str(reply.read().decode())


@pytest.fixture(scope="module")
def text() -> Iterator[str]:
    """The scrape of a stack in which something of everything has happened."""
    with FakeLLM() as fake, asking(fake) as stack:
        _work(client_of(stack, tenant="acme"), fake)
        _cut_off(stack)
        yield wait_until(
            lambda: found if "octollm_thread_failures_total{" in (found := _scrape(stack)) else "",
            30,
            "a thread to fail",
            every=0.5,
        )


@pytest.fixture(scope="module")
def scrape(text: str) -> Scrape:
    """The labels of each metric, by the names of its samples."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def _named(run_tool: RunTool, expressions: Sequence[str]) -> list[list[tuple[str, list[str]]]]:
    asked = [re.sub(r"\$__rate_interval", "5m", expression) for expression in expressions]
    found = run_tool("python", Path(__file__).with_name("promql_names.py"), text=json.dumps(asked))
    assert found.returncode == 0, found.stderr
    return list(json.loads(found.stdout))


def _unknown(named: Sequence[Sequence[tuple[str, list[str]]]], scrape: Scrape) -> list[str]:
    """Return the metrics and labels that are in no sample."""
    known = {**{name: labels | OF_A_TARGET for name, labels in scrape.items()}, **OF_PROMETHEUS}
    pairs = [pair for one in named for pair in one]
    metrics = [metric for metric, _ in pairs if metric not in known]
    labels = [
        f"{metric}{{{label}}}" for metric, of in pairs for label in of if label not in known.get(metric, of)
    ]
    return metrics + labels


def _targets(dashboard: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [target for panel in dashboard["panels"] for target in panel.get("targets", [])]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_metrics_of_a_dashboard_exist(run_tool: RunTool, scrape: Scrape, name: str) -> None:
    targets = _targets(DASHBOARDS[name])

    named = _named(run_tool, [target["expr"] for target in targets])

    assert _unknown(named, scrape) == []
    for target, pairs in zip(targets, named, strict=True):
        shown = set(_LEGEND.findall(target["legendFormat"]))
        assert all(shown <= {*labels, *OF_A_TARGET} for _, labels in pairs), target


def test_the_metrics_of_the_alerts_exist(run_tool: RunTool, scrape: Scrape) -> None:
    named = _named(run_tool, [rule["expr"] for rule in RULES.values()])

    assert _unknown(named, scrape) == []


@pytest.mark.parametrize(
    ("wrong", "reported"),
    [
        ("sum(rate(octollm_task_total[5m]))", "octollm_task_total"),
        ('rate(octollm_tasks_total{state="failed"}[5m])', "octollm_tasks_total{state}"),
        ("1 + sum by (arms) (octollm_workers)", "octollm_workers{arms}"),
    ],
)
def test_a_wrong_name_is_found(run_tool: RunTool, scrape: Scrape, wrong: str, reported: str) -> None:
    assert _unknown(_named(run_tool, [wrong]), scrape) == [reported]


def test_an_expression_that_cant_be_parsed_is_found(run_tool: RunTool) -> None:
    found = run_tool(
        "python", Path(__file__).with_name("promql_names.py"), text=json.dumps(["sum(rate(x[5m])"])
    )

    assert found.returncode == 1
    assert "sum(rate(x[5m])" in found.stderr


def test_promtool_finds_no_fault_in_the_scrape(promtool: RunTool, text: str) -> None:
    found = promtool("check", "metrics", text=text)

    assert (found.returncode, found.stdout + found.stderr) == (0, "")


def test_the_page_of_metrics_has_a_row_for_each_and_no_other(scrape: Scrape) -> None:
    listed = {
        name: set(labels.split(",")) - {""}
        for row in _ROW.findall(PAGE)
        for name, labels in _NAME.findall(row)
    }
    there: dict[str, set[str]] = {}
    for name, labels in scrape.items():
        whole = re.sub(r"_(bucket|sum|count)$", "", name)
        there.setdefault(whole, set()).update(labels - {"le"})

    assert listed == there
