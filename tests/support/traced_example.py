"""Runs the worked example with telemetry on, against a real receiver, and prints one task's tree of spans.

As a program: `python -m support.traced_example` (`scripts/trace` calls it).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
from rich.console import Console
from rich.markup import escape
from rich.tree import Tree
from support.otlp_receiver import OtlpReceiver, ReceivedPoint, ReceivedSpan

COMMAND = Path(sysconfig.get_path("scripts"), "tasker-actors")
TIMEOUT_S = 240.0

# What tells a span from others of its name; the ids that all spans of a task have stand beside its root.
_SHOWN = (
    "attempt", "worker.slot", "handler", "event_name", "delivery_mode", "target_queue", "queue_name", "message_size",
    "subscriber_count", "step.state",
)  # fmt: skip


@dataclass(frozen=True)
class TracedExample:
    """What was printed, and the spans and figures that were received, each in the order of their coming."""

    output: str
    spans: Sequence[ReceivedSpan]
    points: Sequence[ReceivedPoint]

    def save(self, file: Path) -> None:
        """Write what was received as JSON."""
        received = {"spans": [vars(span) for span in self.spans], "points": [vars(point) for point in self.points]}
        file.write_bytes(orjson.dumps(received))


def saved_example(output: str, file: Path) -> TracedExample:
    """Read what `TracedExample.save` wrote; pairs are lists then."""
    received = orjson.loads(file.read_bytes())
    return TracedExample(
        output,
        [ReceivedSpan(**span) for span in received["spans"]],
        [ReceivedPoint(**point) for point in received["points"]],
    )


def run_traced_example(*arguments: str) -> TracedExample:
    """Run the example to its end, every trace sampled; raises CalledProcessError if it fails."""
    # Room for all spans at once: on a slow machine none may be dropped.
    soon = {"OTEL_BSP_SCHEDULE_DELAY": "200", "OTEL_BSP_MAX_QUEUE_SIZE": "100000", "OTEL_METRIC_EXPORT_INTERVAL": "200"}
    with OtlpReceiver() as receiver:
        finished = subprocess.run(
            [COMMAND, "example", *arguments],
            env={**os.environ, **receiver.environment(OTEL_TRACES_SAMPLER_ARG="1.0", **soon)},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=TIMEOUT_S,
        )
        return TracedExample(finished.stdout, receiver.spans(), receiver.points())


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


def main(arguments: Sequence[str]) -> None:
    """Run the example, show what it shows, then the tree of a task that several workers worked for."""
    parser = argparse.ArgumentParser(
        description="Run the worked example with telemetry on, and print one task's tree of spans.",
        epilog="Other arguments are those of `tasker-actors example`.",
        allow_abbrev=False,
    )
    parser.add_argument("--save", metavar="FILE", type=Path, help="keep all spans and figures, as JSON")
    options, others = parser.parse_known_args(arguments)
    ran = run_traced_example(*others)
    if options.save is not None:
        ran.save(options.save)
    sys.stdout.write(ran.output)
    trace = across_workers(ran.spans)
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(
        f"\n{len(ran.spans)} spans of {len(traces(ran.spans))} traces; one of them, by workers {slots(trace)}:\n"
    )
    console.print(drawn(trace))


if __name__ == "__main__":
    main(sys.argv[1:])
