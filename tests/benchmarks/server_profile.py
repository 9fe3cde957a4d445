"""Where PostgreSQL's time goes: a flame graph, sampled by Linux's `perf`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import psutil
from matplotlib import pyplot as plt
from system import RunningSystem

SAMPLES_PER_S = 250
STACK_BYTES = 32_768

_LEAST_SHARE = 0.006
_ROOT = "PostgresMain"
"""What it is called by is the same for all."""
_LETTERS = 150
"""That fit in the width of the graph."""


@dataclass(slots=True)
class Frame:
    """A function as it was called by what is below it."""

    samples: int = 0
    above: dict[str, Frame] = field(default_factory=dict)


def flame_graph(path: Path, system: RunningSystem, title: str, seconds: int) -> None:
    """Draw what the server does for so long; say so where there is no `perf`, or no right to use it."""
    perf = shutil.which("perf")
    if perf is None:
        sys.stderr.write("no flame graph of the server: there is no perf (Debian: apt-get install linux-perf)\n")
        return
    with tempfile.TemporaryDirectory() as directory:
        recorded = Path(directory, "perf.data")
        server = int((system.home / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[0])
        backends = ",".join(str(child.pid) for child in psutil.Process(server).children())
        # The clock and not the processor's counters, which virtual machines do not have; the programs have no frame
        # pointers, so each sample keeps a piece of the stack.
        options = ["-e", "cpu-clock", "-F", str(SAMPLES_PER_S), "--call-graph", f"dwarf,{STACK_BYTES}"]
        command = [perf, "record", *options, "-p", backends, "-o", str(recorded), "--", "sleep", str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.stderr.write(f"no flame graph of the server: {done.stderr.strip()}\n")
            return
        script = [perf, "script", "--no-inline", "-F", "comm,ip,sym", "-i", str(recorded)]
        text = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    _draw(path, title, _fold(_stacks(text)))


def _stacks(text: str) -> Iterator[list[str]]:
    """Read the samples, the innermost function first; what has no name has none here either."""
    for sample in text.strip().split("\n\n"):
        _, *lines = sample.strip("\n").split("\n")
        names = [line.split(maxsplit=1)[1] for line in lines if len(line.split(maxsplit=1)) > 1]
        named = [name for name in names if name != "[unknown]"]
        yield named[: named.index(_ROOT) + 1] if _ROOT in named else named


def _fold(stacks: Iterable[list[str]]) -> Frame:
    root = Frame()
    for stack in stacks:
        frame = root
        frame.samples += 1
        for name in reversed(stack):
            frame = frame.above.setdefault(name, Frame())
            frame.samples += 1
    return root


def _draw(path: Path, title: str, root: Frame) -> None:
    boxes = list(_boxes(root, 0, 0, root.samples * _LEAST_SHARE))
    if not boxes:
        sys.stderr.write("no flame graph of the server: perf saw no function of it by name\n")
        return
    height = max(level for level, *_ in boxes) + 1
    plt.figure(figsize=(14, 0.22 * height + 0.6))
    for level, left, name, samples in boxes:
        share = samples / root.samples
        plt.barh(level, share, 0.94, left / root.samples, color=_color(name))
        letters = int(share * _LETTERS)
        if letters > 2:
            plt.text(left / root.samples + 0.001, level, name[:letters], fontsize=6, va="center", family="monospace")
    plt.xlim(0, 1)
    plt.ylim(-0.5, height - 0.5)
    plt.axis("off")
    plt.title(f"{title}: {root.samples:,} samples of its processes while they compute", fontsize=9)
    plt.tight_layout()
    plt.savefig(path, metadata={"Date": None})
    plt.close()


def _boxes(frame: Frame, level: int, left: int, least: float) -> Iterator[tuple[int, int, str, int]]:
    """Each function's level, the samples left of it, its name and its samples, the widest first."""
    for name, above in sorted(frame.above.items(), key=lambda item: -item[1].samples):
        if above.samples >= least:
            yield level, left, name, above.samples
            yield from _boxes(above, level + 1, left, least)
        left += above.samples


def _color(name: str) -> Any:
    """The same one in every run."""
    return mpl.colormaps["autumn"](0.35 + 0.5 * (sum(name.encode()) % 100) / 100)
