"""Ours beside what a user would pick instead: in one run, in turns, on one PostgreSQL server."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence

import latency
import messaging
from peers.dbos import DbosPeer
from peers.peer import Peer, drain, python, start_latencies
from peers.pgqueuer import PgQueuerPeer
from peers.place import place
from peers.procrastinate import ProcrastinatePeer
from peers.redis_peers import CeleryPeer, DramatiqPeer
from peers.tasker_actors import chains, tasks
from system import home_directory

STARTS = 100
PAUSE_SECONDS = 0.05

Figures = dict[str, list[float]]


def includes() -> dict[str, str]:
    """What one unit of each one's work comes to, beside the call of the handler."""
    peers: list[Peer] = [
        tasks(),
        chains(),
        PgQueuerPeer(),
        ProcrastinatePeer(),
        CeleryPeer(),
        DramatiqPeer(),
        DbosPeer(),
    ]
    return {peer.name: peer.includes for peer in peers}


def jobs(rounds: int) -> Figures:
    """Jobs a second: created by one client in bulk, then run by two processes."""
    return _drained([tasks(), PgQueuerPeer(), ProcrastinatePeer(), *_with_redis()], rounds)


def steps(rounds: int) -> Figures:
    """Steps a second, of chains of four, beside PgQueuer's single jobs and DBOS's workflows of four."""
    figures = _drained([chains(), PgQueuerPeer(), DbosPeer()], rounds)
    figures["pgqueuer_beside_chains_run_per_s"] = figures.pop("pgqueuer_run_per_s")  # `jobs` has figures of that name
    figures.pop("pgqueuer_created_per_s")
    return figures


def starts(rounds: int) -> Figures:
    """Milliseconds from a job's creation to its handler, on an idle system."""
    figures: Figures = defaultdict(list)
    with home_directory() as home, place(home) as here:
        peers: list[Peer] = [tasks(), PgQueuerPeer(), ProcrastinatePeer(), *_with_redis()]
        for peer in peers:
            peer.prepare(here)
        for _ in range(rounds):
            for peer in peers:
                measured = sorted(start_latencies(peer, STARTS, PAUSE_SECONDS))
                figures[f"start_{peer.name}_p50_ms"].append(statistics.median(measured))
                figures[f"start_{peer.name}_p99_ms"].append(measured[len(measured) * 99 // 100])
    for peer in peers:
        if peer.name in ("pgqueuer", "celery"):
            for share in ("p50", "p99"):
                pairs = zip(figures[f"start_ours_{share}_ms"], figures[f"start_{peer.name}_{share}_ms"], strict=True)
                figures[f"start_ours_{share}_per_{peer.name}"] = [ours / theirs for ours, theirs in pairs]
    return dict(figures)


def chains_alone(rounds: int) -> Figures:
    """Milliseconds from the creation of a four-step chain to its completion, on an idle system, beside DBOS's."""
    figures: Figures = defaultdict(list)
    with home_directory() as home, place(home) as here:
        command = python("dbos_chain.py", here.database("dbos"))
        for _ in range(rounds):
            for name, (milliseconds,) in latency.run(1).items():
                figures[f"our_{name}"].append(milliseconds)
            answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            taken = sorted(json.loads(answer.splitlines()[-1]))
            figures["dbos_chain_p50_ms"].append(statistics.median(taken))
            figures["dbos_chain_p99_ms"].append(taken[len(taken) * 99 // 100])
    pairs = zip(figures["our_chain_p50_ms"], figures["dbos_chain_p50_ms"], strict=True)
    figures["our_chain_p50_per_dbos"] = [ours / theirs for ours, theirs in pairs]
    return dict(figures)


def actors(rounds: int) -> Figures:
    """Messages of 500 bytes a second to an actor in another process."""
    figures: Figures = defaultdict(list)
    for _ in range(rounds):
        measured = messaging.run(1)
        ours = {"tell": measured["tell_per_second"], "ask": measured["ask_per_second_one_asker"]}
        ours["asks"] = measured["ask_per_second_eight_askers"]
        for name in ("xoscar", "thespian"):
            answer = subprocess.run(python(f"{name}_messages.py"), check=True, capture_output=True, text=True).stdout
            for kind, rate in json.loads(answer).items():
                figures[f"{name}_{kind}_per_s"].append(rate)
                figures[f"our_{kind}_per_{name}"].append(ours[kind] / rate)
        for kind, rate in ours.items():
            figures[f"our_{kind}_per_s"].append(rate)
    return dict(figures)


def _drained(peers: Sequence[Peer], rounds: int) -> Figures:
    """One round that does not count, then as many as were asked for, each peer in turn."""
    ours, *others = peers
    figures: Figures = defaultdict(list)
    with home_directory() as home, place(home) as here:
        for peer in peers:
            peer.prepare(here)
        for number in range(rounds + 1):
            measured = {peer.name: drain(peer) for peer in peers}
            if not number:
                continue
            for peer in peers:
                if peer.creates:
                    figures[f"{peer.name}_created_per_s"].append(measured[peer.name].created_per_s)
                figures[f"{peer.name}_run_per_s"].append(measured[peer.name].run_per_s)
            for peer in others:
                ratio = measured[ours.name].run_per_s / measured[peer.name].run_per_s
                figures[f"{ours.name}_run_per_{peer.name}"].append(ratio)
    return dict(figures)


def _with_redis() -> list[Peer]:
    if shutil.which("redis-server"):
        return [CeleryPeer(), DramatiqPeer()]
    sys.stderr.write("redis-server is not installed, so Celery and Dramatiq are not measured\n")
    return []
