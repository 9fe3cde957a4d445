"""Runs the worked example with telemetry on, against a real receiver, and prints one task's tree of spans.

As a program: `python -m support.traced_example` (`scripts/trace` calls it).
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.tree import Tree
from support.otlp_receiver import OtlpReceiver, ReceivedSpan

COMMAND = Path(sysconfig.get_path("scripts"), "tasker-actors")
TIMEOUT_S = 240.0

# What tells a span from others of its name; the ids that all spans of a task have stand beside its root.
_SHOWN = (
    "attempt", "worker.slot", "handler", "event_name", "delivery_mode", "target_queue", "queue_name", "message_size",
    "subscriber_count", "step.state",
)  # fmt: skip


@dataclass(frozen=True)
class TracedExample:
    """What the example printed, and the spans that came of it."""

    output: str
    spans: Sequence[ReceivedSpan]


def run_traced_example(*arguments: str) -> TracedExample:
    """Run the example to its end, every trace sampled; raises CalledProcessError if it fails."""
    with OtlpReceiver() as receiver:
        finished = subprocess.run(
            [COMMAND, "example", *arguments],
            env={**os.environ, **receiver.environment(OTEL_TRACES_SAMPLER_ARG="1.0", OTEL_BSP_SCHEDULE_DELAY="200")},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=TIMEOUT_S,
        )
        return TracedExample(finished.stdout, receiver.spans())


def traces(spans: Sequence[ReceivedSpan]) -> dict[str, list[ReceivedSpan]]:
    """Return the spans by trace id."""
    found: dict[str, list[ReceivedSpan]] = defaultdict(list)
    for span in spans:
        found[span.trace_id].append(span)
    return found


def slots(trace: Sequence[ReceivedSpan]) -> set[int]:
    """Return the slots whose workers ran a trace's steps."""
    return {span.attributes["worker.slot"] for span in trace if span.name == "step_execution"}


def across_workers(spans: Sequence[ReceivedSpan]) -> list[ReceivedSpan]:
    """Return the largest trace whose steps ran on the most workers."""
    return max(traces(spans).values(), key=lambda trace: (len(slots(trace)), len(trace)))


def drawn(trace: Sequence[ReceivedSpan]) -> Tree:
    """Draw a trace as SPEC 4.2 does: each span below its parent, in the order in which they began."""
    below: dict[str, list[ReceivedSpan]] = defaultdict(list)
    for span in sorted(trace, key=lambda span: (span.start_ns, span.name)):
        below[span.parent_id].append(span)
    (root,) = below[""]
    ids = " ".join(f"{key}={root.attributes[key]}" for key in ("task_uuid", "correlation_id", "namespace"))
    tree = Tree(f"[bold]{root.name}[/] {_milliseconds(root)} {escape(ids)} trace_id={root.trace_id}")
    _grow(tree, root, below)
    return tree


def _grow(tree: Tree, parent: ReceivedSpan, below: dict[str, list[ReceivedSpan]]) -> None:
    for span in below[parent.span_id]:
        step = f" [cyan]{escape(span.attributes['step_name'])}[/]" if parent.parent_id == "" else ""
        said = " ".join(f"{key}={span.attributes[key]}" for key in _SHOWN if key in span.attributes)
        failed = f" [red]{escape(span.status_message)}[/]" if span.status == 2 else ""
        _grow(tree.add(f"[bold]{span.name}[/]{step} {_milliseconds(span)} {escape(said)}{failed}"), span, below)


def _milliseconds(span: ReceivedSpan) -> str:
    return f"[dim]{(span.end_ns - span.start_ns) / 1e6:.1f} ms[/]"


def main() -> None:
    """Run the example, show what it shows, then the tree of a task that several workers worked for."""
    ran = run_traced_example(*sys.argv[1:])
    sys.stdout.write(ran.output)
    trace = across_workers(ran.spans)
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(
        f"\n{len(ran.spans)} spans of {len(traces(ran.spans))} traces; one of them, by workers {slots(trace)}:\n"
    )
    console.print(drawn(trace))


if __name__ == "__main__":
    main()
