"""The alerts and the example configuration of deploy/prometheus, checked by promtool."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.deploy.conftest import ROOT, RunTool

FOLDER = ROOT / "deploy" / "prometheus"
RULES = {
    rule["alert"]: rule
    for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"]
    for rule in group["rules"]
}


def test_promtool_accepts_the_configuration_and_its_rules(promtool: RunTool) -> None:
    found = promtool("check", "config", FOLDER / "prometheus.yml")

    assert (found.returncode, f"{len(RULES)} rules found" in found.stdout) == (0, True), found


def test_each_alert_fires_when_it_should_and_only_then(promtool: RunTool) -> None:
    found = promtool("test", "rules", FOLDER / "rules.test.yml")

    assert found.returncode == 0, found.stdout + found.stderr


def test_the_tests_notice_each_alert_that_never_fires(promtool: RunTool, tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    wrong = [{**rule, "expr": "vector(0) > 1"} for rule in RULES.values()]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "octollm", "rules": wrong}]}))

    found = promtool("test", "rules", tmp_path / "rules.test.yml")

    assert found.returncode == 1
    reported = set(re.findall(r"alertname: (\w+),", found.stdout + found.stderr))
    assert reported == set(RULES)


@pytest.mark.parametrize("alert", RULES)
def test_the_runbook_of_an_alert_is_a_section_of_the_documentation(alert: str) -> None:
    page, _, anchor = RULES[alert]["annotations"]["runbook"].partition("#")

    headings = re.findall(r"^## (.+)$", (ROOT / page).read_text(), re.MULTILINE)

    assert anchor == alert.lower()
    assert alert in headings
