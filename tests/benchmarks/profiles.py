"""Where the time of each figure goes, as flame graphs: of Python by py-spy, of the server by Linux's perf."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import growth
import server_profile
from system import RunningSystem, create_chains, home_directory, running

SAMPLED_CHAINS = 10_000
SAMPLED_CONTEXTS = 4_000
SECONDS = 8
START_SECONDS = 5
"""Longer than a start takes: what it does until then is seen whole."""
SAMPLES_PER_S = 100
PAUSE_SECONDS = 0.03

_BENCHMARKS = Path(__file__).parent
_SPY = Path(sys.executable).parent / "py-spy"


def write(directory: Path, figures: Collection[str]) -> None:
    """Make the flame graphs of what was measured."""
    for figure, draw in _PROFILES.items():
        if figure in figures:
            sys.stderr.write(f"profiling {figure}\n")
            draw(directory)


def _chains(directory: Path) -> None:
    """A worker and the server while chains are worked off."""
    with _system() as system, system.client() as client:
        create_chains(client, SAMPLED_CHAINS)
        _spy(directory / "worker.svg", system.worker_pids()[0], "--gil")
    with _system() as system, system.client() as client:
        create_chains(client, SAMPLED_CHAINS)
        server_profile.flame_graph(directory / "server.svg", system, "PostgreSQL under chains", SECONDS)


def _chains_alone(directory: Path) -> None:
    """A worker and the server while there is one chain at a time."""
    with _system() as system, _one_by_one(system):
        _spy(directory / "chain_worker.svg", system.worker_pids()[0])
        title = "PostgreSQL with one chain at a time"
        server_profile.flame_graph(directory / "chain_server.svg", system, title, SECONDS)


def _large_contexts(directory: Path) -> None:
    """A worker and the server while tasks with large contexts are worked off."""
    with growth.loaded(replace(growth.payload(max(growth.PAYLOAD_KB)), waiting=SAMPLED_CONTEXTS)) as (system, _):
        _spy(directory / "contexts_worker.svg", system.worker_pids()[0])
        title = "PostgreSQL with contexts of 500 KB"
        server_profile.flame_graph(directory / "contexts_server.svg", system, title, SECONDS)


@contextmanager
def _one_by_one(system: RunningSystem) -> Iterator[None]:
    ended = threading.Event()

    def create() -> None:
        with system.client() as client:
            while not ended.wait(PAUSE_SECONDS):
                create_chains(client, 1)

    creator = threading.Thread(target=create)
    creator.start()
    try:
        yield
    finally:
        ended.set()
        creator.join()


def _start(directory: Path) -> None:
    """The supervisor and its workers from their first instruction on."""
    profiler: subprocess.Popen[bytes] | None = None

    def began(pid: int) -> None:
        nonlocal profiler
        options = _options(directory / "start.svg", "--subprocesses", "--duration", str(START_SECONDS))
        profiler = subprocess.Popen([_SPY, "record", "--pid", str(pid), *options], stderr=subprocess.DEVNULL)

    with home_directory() as home:
        with running(home):
            pass  # makes the server's files
        with running(home, began=began):
            assert profiler is not None
            profiler.wait()
    _without_paths(directory / "start.svg")


def _case(name: str, file: str, how: str) -> Callable[[Path], None]:
    """One round of a case, whole; `how` divides it, into threads or processes."""

    def draw(directory: Path) -> None:
        command = [sys.executable, str(_BENCHMARKS), name, "--rounds", "1", "--json"]
        options = _options(directory / file, how)
        subprocess.run([_SPY, "record", *options, "--", *command], check=True, capture_output=True)
        _without_paths(directory / file)

    return draw


@contextmanager
def _system() -> Iterator[RunningSystem]:
    with home_directory() as home, running(home) as system:
        yield system


def _spy(path: Path, pid: int, *more: str) -> None:
    options = _options(path, "--duration", str(SECONDS), *more)
    subprocess.run([_SPY, "record", "--pid", str(pid), *options], check=True, capture_output=True)
    _without_paths(path)


def _options(path: Path, *more: str) -> list[str]:
    return ["--format", "flamegraph", "--function", "--rate", str(SAMPLES_PER_S), "--output", str(path), *more]


def _without_paths(path: Path) -> None:
    """Leave this machine's paths out of the title, which is the command, and of labels, which py-spy has cut short."""
    text = path.read_text()
    for part in (f"{path.parent}/", f"{_SPY.parent}/", f"{_BENCHMARKS.parent.parent}/"):
        text = text.replace(part, "")
    text = re.sub(r"(?<=[ ;>])/[^<\s]*\.\.</text>", "..</text>", text)
    path.write_text(text)


_PROFILES: Mapping[str, Callable[[Path], None]] = {
    "workers_us_per_step": _chains,
    "chain_p50_ms": _chains_alone,
    "fast_events_per_s": _case("fast_events", "fast_events.svg", "--threads"),
    "events_outside_per_s": _case("outside", "outside.svg", "--threads"),
    "tell_per_second": _case("messaging", "messages.svg", "--subprocesses"),
    "start_to_ready_s": _start,
    "payload_500_kb_steps_per_s": _large_contexts,
}
