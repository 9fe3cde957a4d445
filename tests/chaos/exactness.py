"""Whether the figures that were scraped are those that the commits counted (SPEC 3).

The figures of a supervisor begin at 0 with it. So each one is compared with what its own workers have committed: the
last one, which is asked when all is quiet, must agree to the last event; one that was killed had been asked up to half
a second before, so it must not have claimed more than there is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from chaos.history import Count
from chaos.scrapes import Seen

_LABEL = re.compile(r'(\w+)="([^"]*)"')
_PUBLISHED = "tasker_domain_events_published_total"
_FAILED = "tasker_domain_events_failed_total"

Key = tuple[str, str, str, str]


def labelled(counters: Mapping[str, float], metric: str) -> Counter[Key]:
    """Read a metric of events by namespace, event name, mode and publisher, without zeros."""
    found: Counter[Key] = Counter()
    for series, value in counters.items():
        if series.startswith(metric + "{") and value:
            labels = dict(_LABEL.findall(series))
            key = (labels["namespace"], labels["event_name"], labels["delivery_mode"], labels["publisher"])
            found[key] = int(value)
    return found


def check_supervisors(
    supervisors: Sequence[tuple[int, str]], seen: Mapping[int, Seen], counts: Sequence[Count]
) -> Iterator[str]:
    """Complain of each supervisor's figures, given by number and id in the order of their lives.

    One that was killed soon after its start may never have been asked; the last one must have been.
    """
    for number, supervisor_id in supervisors:
        own = [each for each in counts if each.supervisor_id == supervisor_id]
        is_last = (number, supervisor_id) == supervisors[-1]
        if number in seen:
            yield from check_last(seen[number], own) if is_last else check_earlier(number, seen[number], own)
        elif is_last:
            yield f"scrape: supervisor {number}, the last one, was never scraped"


def check_last(seen: Seen, counts: Sequence[Count]) -> Iterator[str]:
    """Complain where the last supervisor's figures differ from what its workers committed."""
    published, failed = _committed(counts)
    for metric, committed in ((_PUBLISHED, published), (_FAILED, failed)):
        shown = labelled(seen.counters, metric)
        for key in sorted(committed.keys() | shown.keys()):
            if (key[2] != "fast" or metric == _FAILED) and committed[key] != shown[key]:
                yield f"counters: {metric} of {'/'.join(key)} is {shown[key]}, and {committed[key]} were committed"
    router = seen.events["router"]
    for mode in ("durable", "broadcast"):
        total = sum(value for key, value in published.items() if key[2] == mode)
        if router[f"{mode}_routed"] != total:
            yield f"counters: {mode}_routed is {router[f'{mode}_routed']}, and {total} were committed"
    if router["routing_errors"] != sum(failed.values()):
        yield f"counters: routing_errors is {router['routing_errors']}, and {sum(failed.values())} were committed"
    parts = ("durable_routed", "fast_routed", "broadcast_routed", "routing_errors")
    if router["total_routed"] != sum(router[part] for part in parts):
        yield f"counters: total_routed is not the sum of its parts: {router}"


def check_earlier(number: int, seen: Seen, counts: Sequence[Count]) -> Iterator[str]:
    """Complain where a supervisor that is gone had shown more than its workers committed."""
    published, failed = _committed(counts)
    for metric, committed in ((_PUBLISHED, published), (_FAILED, failed)):
        for key, value in labelled(seen.counters, metric).items():
            if key[2] != "fast" and value > committed[key]:
                yield (
                    f"counters: supervisor {number} showed {metric} of {'/'.join(key)} as {value}, "
                    f"and {committed[key]} were committed"
                )


def _committed(counts: Sequence[Count]) -> tuple[Counter[Key], Counter[Key]]:
    published: Counter[Key] = Counter()
    failed: Counter[Key] = Counter()
    for count in counts:
        key = (count.namespace, count.event_name, count.mode, count.publisher)
        published[key] += count.published
        failed[key] += count.failed
    return published, failed
