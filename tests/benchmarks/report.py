"""The report: what was measured as plots, and flame graphs of where its time goes, for README to show."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import batching
import growth
import matplotlib as mpl
import profiles
import scaling
from matplotlib import pyplot as plt

Figures = Mapping[str, Sequence[float]]

OURS = "#1f77b4"
OTHERS = "#b0b0b0"
_STEPS = {"ours": "ours_run_per_s", "PgQueuer": "pgqueuer_run_per_s", "Dramatiq": "dramatiq_run_per_s",
          "Procrastinate": "procrastinate_run_per_s", "Celery": "celery_run_per_s"}  # fmt: skip
_STARTS = {"ours": "start_ours", "PgQueuer": "start_pgqueuer", "Celery": "start_celery",
           "Dramatiq": "start_dramatiq", "Procrastinate": "start_procrastinate"}  # fmt: skip


def write(directory: Path, measured: Mapping[str, object], figures: Figures) -> None:
    """Write `figures.json`, and every plot whose figures are there; others stay as they are."""
    directory.mkdir(parents=True, exist_ok=True)
    mpl.rcParams["svg.hashsalt"] = "tasker_actors"  # the same figures make the same file
    (directory / "figures.json").write_text(json.dumps(measured, indent=1) + "\n")
    _bars(directory / "tasks.svg", "single-step tasks a second, 2 processes each", _STEPS, figures)
    _latencies(directory / "starts.svg", figures)
    _lines(directory / "workers.svg", "workers", scaling.WORKERS, "waiting_steps_per_s_{}_workers", figures)
    _lines(directory / "batches.svg", "steps of a commit at most", batching.BATCHES, "batch_{}_steps_per_s", figures)
    _growth(directory / "growth.svg", figures)
    profiles.write(directory, figures)


def _median(figures: Figures, name: str) -> float:
    return statistics.median(figures[name])


def _save(path: Path) -> None:
    plt.tight_layout()
    plt.savefig(path, metadata={"Date": None})
    plt.close()


def _bars(path: Path, title: str, names: Mapping[str, str], figures: Figures) -> None:
    known = {label: name for label, name in names.items() if name in figures}
    if "ours" not in known:
        return
    plt.figure(figsize=(7, 0.5 * len(known) + 1))
    medians = [_median(figures, name) for name in known.values()]
    spread = [[median - min(figures[name]) for median, name in zip(medians, known.values(), strict=True)],
              [max(figures[name]) - median for median, name in zip(medians, known.values(), strict=True)]]  # fmt: skip
    plt.barh([*known], medians, xerr=spread, color=[OURS if label == "ours" else OTHERS for label in known])
    plt.gca().invert_yaxis()
    plt.title(title)
    _save(path)


def _latencies(path: Path, figures: Figures) -> None:
    known = {label: name for label, name in _STARTS.items() if f"{name}_p50_ms" in figures}
    if "ours" not in known:
        return
    plt.figure(figsize=(7, 0.6 * len(known) + 1))
    for share, marker in (("p50", "o"), ("p99", "|")):
        for place, (label, name) in enumerate(known.items()):
            values = figures[f"{name}_{share}_ms"]
            color = OURS if label == "ours" else OTHERS
            plt.plot(values, [place] * len(values), marker, color=color, markersize=8)
    plt.yticks(range(len(known)), [*known])
    plt.gca().invert_yaxis()
    plt.xscale("log")
    plt.title("from creation to the handler, idle, ms: o is p50 and | is p99 of each round")
    _save(path)


def _lines(path: Path, label: str, sizes: Sequence[float], name: str, figures: Figures) -> None:
    if name.format(sizes[0]) not in figures:
        return
    plt.figure(figsize=(5, 3))
    _line(sizes, name, figures)
    plt.xlabel(label)
    plt.ylabel("steps a second")
    _save(path)


def _line(sizes: Sequence[float], name: str, figures: Figures) -> None:
    for size in sizes:
        values = figures[name.format(f"{size:g}" if isinstance(size, float) else size)]
        plt.plot([size] * len(values), values, "o", color=OURS, markersize=4)
    medians = [_median(figures, name.format(f"{size:g}" if isinstance(size, float) else size)) for size in sizes]
    plt.plot(sizes, medians, color=OURS)
    plt.xscale("log")
    plt.ylim(bottom=0)


def _growth(path: Path, figures: Figures) -> None:
    panels = (
        ("tasks in backlog", growth.BACKLOGS, "backlog_{}_steps_per_s"),
        ("namespaces", growth.NAMESPACES, "namespaces_{}_steps_per_s"),
        ("KB of a context", growth.PAYLOAD_KB, "payload_{}_kb_steps_per_s"),
        ("steps of a task", growth.DAG_STEPS, "dag_{}_steps_steps_per_s"),
    )
    known = [panel for panel in panels if panel[2].format(panel[1][0]) in figures]
    if not known:
        return
    plt.figure(figsize=(3 * len(known), 3))
    for number, (label, sizes, name) in enumerate(known, start=1):
        plt.subplot(1, len(known), number)
        _line(sizes, name, figures)
        plt.xlabel(label)
        if number == 1:
            plt.ylabel("steps a second")
    _save(path)
