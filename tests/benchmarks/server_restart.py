"""How long after a restart of the server the steps are done as fast as before."""

from __future__ import annotations

import statistics
import threading
import time

import psycopg
from support.stoppable_server import StoppableServer, stoppable_server
from system import create_chains, home_directory, running, wait_until_finished

CHAINS = 25_000
BEFORE_SECONDS = 4.0
BIN_SECONDS = 0.25
FULL = 0.8
"""This part of the speed before counts as full speed: bins differ by more than the rest."""

_BINS = """
SELECT floor(extract(epoch FROM finished_at) / %(bin)s)::bigint AS bin, count(*) / %(bin)s AS rate
FROM tasker.step_attempts WHERE finished_at > to_timestamp(%(since)s) GROUP BY 1 ORDER BY 1
"""


def run(rounds: int) -> dict[str, list[float]]:
    """Stop the server (`fast`) in the middle of thousands of chains, start it again at once, and look at the speed."""
    figures: dict[str, list[float]] = {"server_restart_down_s": [], "server_restart_full_speed_s": []}
    with stoppable_server({"fsync": "on"}) as server:
        server.execute("CREATE DATABASE bench")
        with home_directory() as home, running(home, variables={"DATABASE_URL": _url(server)}) as system:
            with system.client() as client, psycopg.connect(system.database_url, autocommit=True) as connection:
                create_chains(client, CHAINS // 10)
                wait_until_finished(connection)
            for _ in range(rounds):
                with system.client() as client:
                    create_chains(client, CHAINS)
                began = time.time()
                threading.Event().wait(BEFORE_SECONDS)
                stopped = time.time()
                server.stop("fast")
                server.start()
                started = time.time()
                with psycopg.connect(_url(server), autocommit=True) as connection:
                    wait_until_finished(connection)
                figures["server_restart_down_s"].append(started - stopped)
                figures["server_restart_full_speed_s"].append(_until_full_speed(server, began, stopped, started))
    return figures


def _url(server: StoppableServer) -> str:
    return f"postgresql://tasker@/bench?host={server.home}"


def _until_full_speed(server: StoppableServer, began: float, stopped: float, started: float) -> float:
    """Seconds from the server's readiness to the end of the first span of time with full speed."""
    with psycopg.connect(_url(server)) as connection:
        rows = connection.execute(_BINS, {"bin": BIN_SECONDS, "since": began}).fetchall()
    rates = {bin_number * BIN_SECONDS: float(rate) for bin_number, rate in rows}
    before = statistics.median(rate for at, rate in rates.items() if at + BIN_SECONDS < stopped)
    again = [at + BIN_SECONDS for at, rate in rates.items() if at + BIN_SECONDS > started and rate >= FULL * before]
    seconds: float = max(0.0, min(again) - started)
    return seconds
