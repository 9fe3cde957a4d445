"""What a run did and found, for people and for programs."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from chaos.history import History, Noted

_SHOWN = 40


@dataclass(slots=True)
class Report:
    """All of it; times in seconds, memory in MiB."""

    seed: int
    minutes: float
    workers: int
    command: str
    faults_in_all: int = 0
    faults: Mapping[str, int] = field(default_factory=dict)
    given_up: Mapping[str, int] = field(default_factory=dict)
    work: Mapping[str, int] = field(default_factory=dict)
    unanswered: Mapping[str, int] = field(default_factory=dict)
    supervisors: Sequence[str] = ()
    recovery_s: Mapping[str, float] = field(default_factory=dict)
    memory_mb: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    scrapes: int = 0
    seconds: float = 0.0
    warnings: Mapping[str, int] = field(default_factory=dict)
    complaints: Sequence[str] = ()

    def as_json(self) -> str:
        """One JSON object."""
        return json.dumps(asdict(self))

    def as_text(self) -> str:
        """Lines for a terminal."""
        lines = [f"faults injected: {self.faults_in_all}"]
        lines += [f"  {count:5}  {kind}" for kind, count in sorted(self.faults.items(), key=lambda each: -each[1])]
        lines += [f"  {kind} found no victim {count} times" for kind, count in self.given_up.items()]
        lines += [f"work done in {self.seconds:.0f} s: " + _counts(self.work)]
        lines += ["requests that had to be sent again: " + (_counts(self.unanswered) or "none")]
        lines += [f"supervisors: {len(self.supervisors)}: " + ", ".join(self.supervisors)]
        lines += ["until steps of a dead worker ran again: " + _recovery(self.recovery_s)]
        lines += [f"memory of a {role}: " + _figures(figures, "MB") for role, figures in self.memory_mb.items()]
        lines += [f"scrapes: {self.scrapes}"]
        lines += ["warnings and errors in the logs:"] if self.warnings else []
        lines += [f"  {count:5}  {text}" for text, count in sorted(self.warnings.items(), key=lambda each: -each[1])]
        lines += [f"complaints: {len(self.complaints)}", *(f"  {each}" for each in self.complaints[:_SHOWN])]
        lines += [f"again: {self.command}"]
        return "\n".join(lines)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in counts.items())


def _figures(figures: Mapping[str, float], unit: str) -> str:
    return ", ".join(f"{name} {value:.2f} {unit}" for name, value in figures.items()) or "none"


def _recovery(figures: Mapping[str, float]) -> str:
    """The number of cases is no time."""
    times = {name: value for name, value in figures.items() if name != "cases"}
    return _figures(times, "s") + (f", of {figures['cases']:.0f} cases" if figures else "")


def work_done(history: History) -> dict[str, int]:
    """Count what was done."""
    return {
        "tasks": len(history.tasks),
        "steps": len(history.steps),
        "steps complete": sum(step.state == "complete" for step in history.steps),
        "attempts": len(history.attempts),
        "attempts lost": sum(each.outcome == "lost" or each.error_type == "worker_lost" for each in history.attempts),
        "workers": len(history.workers),
        "durable events": len(history.messages),
        "dead letters": len(history.letters),
        "deliveries": sum(line.what == "event" for line in history.journal),
    }


def recovery(journal: Sequence[Noted], killed: Mapping[int, float]) -> dict[str, float]:
    """How long what a worker ran when it was killed took to run again, in seconds."""
    gaps = sorted(_gaps(journal, killed))
    if not gaps:
        return {}
    return {
        "p50": gaps[len(gaps) // 2],
        "p99": gaps[min(len(gaps) - 1, len(gaps) * 99 // 100)],
        "max": gaps[-1],
        "cases": float(len(gaps)),
    }


def _gaps(journal: Sequence[Noted], killed: Mapping[int, float]) -> list[float]:
    open_steps: dict[tuple[int, str], float] = {}
    begins: dict[str, list[float]] = {}
    for line in journal:
        if line.what == "begin":
            begins.setdefault(line.subject, []).append(line.at)
            open_steps[line.pid, line.subject] = line.at
        elif line.what == "end":
            open_steps.pop((line.pid, line.subject), None)
    found = []
    for (pid, step), began in open_steps.items():
        # What began after the end was noted, or failed by itself, was not ended by us.
        again = [at for at in begins[step] if at > killed.get(pid, 0.0)]
        if pid in killed and began <= killed[pid] and again:
            found.append(again[0] - killed[pid])
    return found


def warnings(directory: Path) -> Counter[str]:
    """Count what the logs say at levels that somebody should look at, by sentence."""
    found: Counter[str] = Counter()
    for path in directory.glob("supervisor-*.log"):
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                found["(no JSON) " + re.sub(r"\d+", "#", text)[:100]] += 1
                continue
            if isinstance(line, dict) and line.get("level") in ("warning", "error", "critical"):
                sentence = re.sub(r"0x[0-9a-f]+|port \d+|\d+\.\d+", "#", str(line.get("event")).partition("\n")[0])
                found[f"{line['level']}: {sentence[:160]}"] += 1
    return found
