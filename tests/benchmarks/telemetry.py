"""Steps a second with telemetry off, with 1 % and 100 % of traces sampled to a local collector, and with a dead one.

The systems run side by side and take turns, so that each round compares them in the same minute. The collector is
a process of its own on the same machine and reads requests without looking into them.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil
import psycopg
from prometheus_client.parser import text_string_to_metric_families
from system import RunningSystem, create_chains, home_directory, running, wait_until_finished
from throughput import rate_since

CHAINS = 5_000
TESTS = Path(__file__).parents[1]


def run(rounds: int) -> dict[str, list[float]]:
    """Let the systems take turns, after one round of each that does not count."""
    with ExitStack() as stack:
        collector = stack.enter_context(_collector())
        variables = {
            "off": {},
            "sampled_1_percent": _exporting(collector, "0.01"),
            "sampled_all": _exporting(collector, "1.0"),
            "dead_collector": _exporting(_dead_port(), "1.0"),
        }
        systems = {name: stack.enter_context(_system(each)) for name, each in variables.items()}
        rates: dict[str, list[float]] = {name: [] for name in systems}
        for number in range(rounds + 1):
            # Nobody is always the first, or always behind the same one.
            turn = deque(systems.items())
            turn.rotate(number)
            for name, system in turn:
                rate = _round(system)
                if number:
                    rates[name].append(rate)
        dropped = {name: _dropped(system) for name, system in systems.items()}
        memory = {name: max(_rss_mb(pid) for pid in system.worker_pids()) for name, system in systems.items()}
    figures = {f"telemetry_{name}_steps_per_s": values for name, values in rates.items()}
    for name in ("sampled_1_percent", "sampled_all", "dead_collector"):
        pairs = zip(rates["off"], rates[name], strict=True)
        figures[f"telemetry_{name}_cost_percent"] = [100 * (1 - rate / off) for off, rate in pairs]
    figures["telemetry_sampled_all_dropped_percent"] = [100 * dropped["sampled_all"] / _spans(CHAINS * (rounds + 1))]
    figures["telemetry_dead_collector_worker_rss_mb"] = [memory["dead_collector"]]
    figures["telemetry_off_worker_rss_mb"] = [memory["off"]]
    return figures


def _spans(chains: int) -> int:
    """How many spans these chains make: seven a step with its durable event, and the task's own."""
    return chains * (4 * 7 + 1)


def _round(system: RunningSystem) -> float:
    with system.client() as client, psycopg.connect(system.database_url, autocommit=True) as connection:
        create_chains(client, CHAINS)
        created = connection.execute("SELECT clock_timestamp()").fetchone()
        wait_until_finished(connection)
        assert created is not None
        return rate_since(connection, created[0])


@contextmanager
def _system(variables: Mapping[str, str]) -> Iterator[RunningSystem]:
    with home_directory() as home, running(home, variables=variables) as system:
        yield system


def _exporting(port: int, ratio: str) -> dict[str, str]:
    return {
        "TELEMETRY_ENABLED": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_TRACES_SAMPLER_ARG": ratio,
    }


@contextmanager
def _collector() -> Iterator[int]:
    """A local collector over gRPC; yields its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "support.otlp_receiver", "--discard"],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(json.loads(process.stdout.readline())["grpc"])
    finally:
        process.stdin.close()
        process.wait(10)


def _dead_port() -> int:
    """A port where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _dropped(system: RunningSystem) -> float:
    with httpx.Client(base_url=system.url, timeout=30) as client:
        text = client.get("/metrics").raise_for_status().text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "tasker_telemetry_spans_dropped_total"
    )


def _rss_mb(pid: int) -> float:
    return psutil.Process(pid).memory_info().rss / 1e6
