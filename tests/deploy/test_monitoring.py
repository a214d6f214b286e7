"""The rules of Prometheus and the dashboards of Grafana: valid, and about metrics that are exported."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from openfall.config import load
from openfall.producers.metrics.exposition import expose
from openfall.producers.metrics.metrics_reader import MetricsReading
from openfall.router_core.state.fleet_status import FleetStatus
from openfall.router_core.state.metric_counts import read_metric_counts

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS, GRAFANA = ROOT / "deploy/prometheus", ROOT / "deploy/grafana"
RULES = yaml.safe_load((PROMETHEUS / "rules/openfall.yml").read_text("utf-8"))
ALERTS: list[dict[str, Any]] = [rule for group in RULES["groups"] for rule in group["rules"]]
DASHBOARDS = {
    path.stem: json.loads(path.read_text("utf-8")) for path in sorted((GRAFANA / "dashboards").glob("*.json"))
}
METRIC = re.compile(r"\b((?:openfall|rq)_[a-z0-9_]+)")
SUFFIXES = re.compile(r"_(?:bucket|sum|count)$")
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian's package `prometheus` has it)"
)


@pytest.fixture(scope="module")
def exported() -> set[str]:
    """The names of the families: every scrape has all of them, also without samples."""
    empty = FleetStatus(0.0, (), (), 0, 0, False, None, {})
    reading = MetricsReading(status=empty, jobs=(), counts=read_metric_counts([]), ended={}, server={})
    text = expose(reading, load(ROOT / "config/demo.yaml", environ={}).catalog).body.decode()
    families = text_string_to_metric_families(text)
    return {f"{family.name}_total" if family.type == "counter" else family.name for family in families}


def expressions() -> Iterator[tuple[str, str]]:
    """Each expression, with the place where it stands."""
    for alert in ALERTS:
        yield alert["alert"], alert["expr"]
    for name, dashboard in DASHBOARDS.items():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                yield f"{name}: {panel['title']}", target["expr"]
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                metric = re.sub(r"label_values\((\w+), \w+\)", r"\1", variable["definition"])
                yield f"{name}: ${variable['name']}", metric


def test_every_metric_in_a_rule_or_a_dashboard_is_exported(exported: set[str]) -> None:
    unknown = {
        f"{place}: {name}"
        for place, expression in expressions()
        for name in METRIC.findall(expression)
        if SUFFIXES.sub("", name) not in exported
    }
    assert not unknown


def test_every_exported_metric_is_described_on_the_page(exported: set[str]) -> None:
    page = (ROOT / "docs/metrics.md").read_text("utf-8")
    assert not [name for name in exported if f"`{name}`" not in page]


def test_every_alert_names_a_section_of_the_runbook() -> None:
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs/runbook.md").read_text("utf-8"), re.MULTILINE)
    anchors = {f"docs/runbook.md#{heading.lower().replace(' ', '-')}" for heading in headings}
    assert [alert["alert"] for alert in ALERTS if alert["annotations"]["runbook_url"] not in anchors] == []
    assert all(alert["annotations"]["summary"] and alert["labels"]["severity"] for alert in ALERTS)


def test_every_alert_has_a_test() -> None:
    tests = yaml.safe_load((PROMETHEUS / "tests/openfall_test.yml").read_text("utf-8"))["tests"]
    tested = {alert["alertname"] for test in tests for alert in test.get("alert_rule_test", ())}
    assert {alert["alert"] for alert in ALERTS} == tested


def test_the_scrape_reads_the_gateway_of_the_compose_file_with_its_key_and_every_rule_file() -> None:
    settings = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))
    (scrape,) = settings["scrape_configs"]
    assert scrape["job_name"] == "openfall", "the alert GatewayDown names it"
    assert scrape["static_configs"][0]["targets"] == ["gateway:8309"]
    mounts = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]["prometheus"]["volumes"]
    (key,) = (mount for mount in mounts if isinstance(mount, dict))
    assert key["target"] == scrape["authorization"]["credentials_file"]
    assert settings["rule_files"] == ["rules/*.yml"]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_has_panels_that_do_not_overlap_and_one_variable_for_its_datasource(name: str) -> None:
    dashboard = DASHBOARDS[name]
    assert (dashboard["uid"], dashboard["schemaVersion"] >= 39) == (name, True)
    variables = {variable["name"]: variable["type"] for variable in dashboard["templating"]["list"]}
    assert variables["datasource"] == "datasource"
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"
            assert set(re.findall(r"\$(\w+)", target["expr"])) <= {*variables, "__rate_interval"}


def test_grafana_finds_the_dashboards_and_prometheus_where_the_compose_file_has_them() -> None:
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/openfall.yml").read_text("utf-8"))["providers"]
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/openfall.yml").read_text("utf-8"))["datasources"]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in compose["grafana"]["volumes"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in compose


@needs_promtool
def test_prometheus_accepts_its_configuration_and_the_rules() -> None:
    check("check", "config", "--syntax-only", PROMETHEUS / "prometheus.yml")  # the key of the gateway is no file here
    check("check", "rules", PROMETHEUS / "rules/openfall.yml")


@needs_promtool
def test_every_rule_fires_when_it_must_and_none_when_all_is_well() -> None:
    check("test", "rules", PROMETHEUS / "tests/openfall_test.yml")


@needs_promtool
def test_every_expression_of_a_dashboard_is_valid(tmp_path: Path) -> None:
    rules = [
        {"record": "x", "expr": re.sub(r"\$(\w+)", lambda name: "5m" if "interval" in name[1] else ".*", expression)}
        for _, expression in expressions()
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": f"g{n}", "rules": [rule]} for n, rule in enumerate(rules)]}))
    check("check", "rules", "--lint=none", file)


def check(*args: object) -> None:
    ran = subprocess.run(["promtool", *map(str, args)], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
