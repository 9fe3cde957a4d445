"""A real Prometheus as a child process, and promtool."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from support.operators_files import PROMETHEUS, RULE_FILES
from support.waiting import until

UNPACKED = Path(sysconfig.get_path("scripts")).parent / "prometheus" / "usr" / "bin"
"""Where scripts/test puts the programs if the machine has none."""

SCRAPE_INTERVAL = "500ms"


def find_program(name: str) -> str:
    """Return the path of `prometheus` or `promtool`; skips the test where there is none."""
    found = shutil.which(name, path=os.pathsep.join((str(UNPACKED), os.environ.get("PATH", os.defpath))))
    if found is None:
        pytest.skip(f"no {name}: scripts/test fetches it on Debian")
    return found


@dataclass(frozen=True, slots=True)
class Series:
    """A series of an answer, with its samples in the order of time: one for a moment, several for a range."""

    labels: Mapping[str, str]
    values: tuple[float, ...]

    @property
    def value(self) -> float:
        """The last sample."""
        return self.values[-1]


class Prometheus:
    """A running server; every question is about this moment."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=f"{url}/api/v1", timeout=30)

    def query(self, expression: str) -> list[Series]:
        """Ask for a vector, or for the samples of a range (`x[5m]`); fails the test if it is no valid expression."""
        answer = self.http.post("/query", data={"query": expression})
        assert answer.status_code == 200, f"{expression}: {answer.text}"
        data = answer.json()["data"]
        assert data["resultType"] in ("vector", "matrix"), expression
        return [
            Series(row["metric"], tuple(float(value) for _, value in row.get("values") or [row["value"]]))
            for row in data["result"]
        ]

    def value(self, expression: str) -> float | None:
        """Ask for a single number; None if there is no series."""
        found = self.query(expression)
        assert len(found) <= 1, f"{expression}: {len(found)} series"
        return found[0].value if found else None

    def by(self, label: str, expression: str) -> dict[str, float]:
        """Ask for numbers by one label."""
        return {series.labels[label]: series.value for series in self.query(expression)}

    def targets(self) -> list[dict[str, Any]]:
        """Read what is scraped, with health and last error."""
        found: list[dict[str, Any]] = self._get("/targets")["activeTargets"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Read every rule with health and last error."""
        return [rule for group in self._get("/rules")["groups"] for rule in group["rules"]]

    def alerts(self) -> dict[str, dict[str, Any]]:
        """Read the alerts that fire or are about to, by name; of one with several label sets any."""
        return {alert["labels"]["alertname"]: alert for alert in self._get("/alerts")["alerts"]}

    def exemplars(self, expression: str, since_s: float, until_s: float) -> list[dict[str, Any]]:
        """Read the exemplars of a selector between two times (seconds since 1970)."""
        found: list[dict[str, Any]] = self._get("/query_exemplars", query=expression, start=since_s, end=until_s)
        return found

    def _get(self, path: str, **query: Any) -> Any:
        return self.http.get(path, params=query).raise_for_status().json()["data"]


@contextmanager
def prometheus(target: str, home: Path) -> Iterator[Prometheus]:
    """A Prometheus that scrapes HOST:PORT twice a second, with our own configuration otherwise, on a free port."""
    config = _config(target, home)
    command = [
        *(find_program("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={home / 'data'}"),
        *("--web.listen-address=127.0.0.1:0", "--log.level=warn", "--enable-feature=exemplar-storage"),
    ]
    with (home / "prometheus.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    server: Prometheus | None = None
    try:
        until(lambda: process.poll() is not None or bool(_port(process.pid)), 60)
        assert process.poll() is None, (home / "prometheus.log").read_text()
        server = Prometheus(f"http://127.0.0.1:{_port(process.pid)}")
        until(lambda: _is_ready(server), 60)
        yield server
    finally:
        if server is not None:
            server.http.close()
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _config(target: str, home: Path) -> Path:
    document = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    document["global"] = {"scrape_interval": SCRAPE_INTERVAL, "evaluation_interval": SCRAPE_INTERVAL}
    document["rule_files"] = [str(path) for path in RULE_FILES]
    document["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    path = home / "prometheus.yml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def _port(pid: int) -> int | None:
    """The port that a process listens on: with port 0 the system chose it, and Prometheus does not say which."""
    listening = [each for each in psutil.Process(pid).net_connections("tcp4") if each.status == psutil.CONN_LISTEN]
    return listening[0].laddr.port if listening else None


def _is_ready(server: Prometheus) -> bool:
    return server.http.get("/status/runtimeinfo").status_code == 200
