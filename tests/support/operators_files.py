"""What config/prometheus and config/grafana ask Prometheus."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CONFIG = Path(__file__).parents[2] / "config"
PROMETHEUS = CONFIG / "prometheus"
RULE_FILES = (PROMETHEUS / "recording.rules.yml", PROMETHEUS / "alerts.rules.yml")
RULE_TESTS = PROMETHEUS / "alerts.test.yml"
DASHBOARD = CONFIG / "grafana" / "tasker_actors.json"
COLLECTOR = CONFIG / "otel-collector" / "config.yaml"

_THRESHOLD = re.compile(r"^(?P<measured>.*\S)\s(?:>|<|==)\s(?P<limit>.*)$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Query:
    """An expression and where it stands; `variables` of the dashboard are still in it."""

    place: str
    expression: str

    def filled(self, interval: str) -> Query:
        """With every variable that selects series at `All`, and every interval of the dashboard as given."""
        text = re.sub(r"\$__(?:rate_interval|range)\b", interval, self.expression)
        return Query(self.place, re.sub(r'"\$\w+"', '".*"', text))


def rules(path: Path) -> list[dict[str, Any]]:
    """Read the rules of a file, whatever group they are in."""
    groups = yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def recordings() -> list[dict[str, Any]]:
    """Read the recording rules."""
    return rules(RULE_FILES[0])


def alerts() -> list[dict[str, Any]]:
    """Read the alerts."""
    return rules(RULE_FILES[1])


def measured(alert: dict[str, Any]) -> Query:
    """What an alert measures: its expression without the comparison that ends it."""
    expression = str(alert["expr"]).strip()
    if expression.startswith("absent("):
        return Query(alert["alert"], expression.removeprefix("absent(").removesuffix(")"))
    found = _THRESHOLD.match(expression)
    assert found is not None, f"{alert['alert']} compares nothing"
    return Query(alert["alert"], found["measured"])


def rule_queries() -> list[Query]:
    """List the whole expressions of all rules."""
    return [Query(rule.get("record") or rule["alert"], rule["expr"]) for rule in (*recordings(), *alerts())]


def dashboard() -> dict[str, Any]:
    """Read the dashboard."""
    document: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return document


def panels() -> Iterator[dict[str, Any]]:
    """Name every panel that shows something."""
    return (panel for panel in dashboard()["panels"] if panel["type"] != "row")


def panel_queries() -> list[Query]:
    """List the expressions of all panels."""
    return [Query(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]


def variable_queries() -> list[Query]:
    """List what the dashboard's variables are filled from: series whose label they take."""
    found = []
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            series, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"]).groups()
            found.append(Query(f"variable {variable['name']}", f"count by ({label}) ({series})"))
    return found
