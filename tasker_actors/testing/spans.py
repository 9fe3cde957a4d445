"""The spans of a task as a tree (SPEC 4.2), made by what makes them in a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan

    from tasker_actors.delivery.commit_spans import CommitSpans
    from tasker_actors.messages import StepsCommitted


@dataclass(frozen=True, slots=True)
class Span:
    """One span; times are nanoseconds since 1970, `error` is the status's message, None if all went well."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str | None
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Any]
    error: str | None
    children: list[Span] = field(default_factory=list, repr=False)

    def walk(self) -> Iterator[Span]:
        """Give the span and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def outline(self, depth: int = 0) -> str:
        """Write the tree as lines of names, two spaces deeper for each level."""
        lines = [f"{'  ' * depth}{self.name}", *(child.outline(depth + 1) for child in self.children)]
        return "\n".join(lines)


def span_trees(commits: Iterable[StepsCommitted], subscribers: Callable[[str], int], start_ns: int) -> list[Span]:
    """Build the spans of commits and return those without a parent among them; `subscribers` counts an event's."""
    # OpenTelemetry's messages take longer to load than most tests to run.
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan  # noqa: PLC0415 - see above

    from tasker_actors.delivery.tracer import CommitTracer  # noqa: PLC0415 - see above

    offered: list[CommitSpans] = []
    tracer = CommitTracer(offered.append, lost=lambda _: None, slot=0, subscribers=subscribers)
    for commit in commits:
        at = commit.committed_at
        tracer.committed(commit, taken_up=at, counted=at, handed_over=at, bus_accepted=True)
    encoded = [span for each in offered for span in replace(each, epoch_ns=start_ns).encode()]
    return _trees([_read(WireSpan.FromString(span)) for span in encoded])


def _trees(spans: list[Span]) -> list[Span]:
    by_id = {span.span_id: span for span in spans}
    roots: list[Span] = []
    for span in spans:
        parent = by_id.get(span.parent_id or "")
        (roots if parent is None else parent.children).append(span)
    return roots


def _read(wire: WireSpan) -> Span:
    failed = wire.status.code == wire.status.STATUS_CODE_ERROR
    return Span(
        name=wire.name,
        trace_id=wire.trace_id.hex(),
        span_id=wire.span_id.hex(),
        parent_id=wire.parent_span_id.hex() or None,
        start_ns=wire.start_time_unix_nano,
        end_ns=wire.end_time_unix_nano,
        attributes={each.key: _value(each.value) for each in wire.attributes},
        error=wire.status.message if failed else None,
    )


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return None if kind is None else getattr(value, kind)
