"""What a PromQL expression names: metrics and labels, found without Prometheus."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tasker_actors.telemetry.metrics import TABLE, MetricKind

TARGET_LABELS = frozenset({"job", "instance"})
FOREIGN = {"up": frozenset[str]()}
"""Metrics that Prometheus makes itself."""

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'')
_RANGE = re.compile(r"\[[^\]]*\]")
_LISTED = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}")
_MATCHED = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_WORD = re.compile(r"(?<![\w:.$])[a-zA-Z_:][\w:]*(?![\w:])(?!\s*\()")
_OPERATORS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}


@dataclass(frozen=True, slots=True)
class Named:
    """Names of an expression; `matched` has a metric's labels in braces, `listed` those after `by` and its like."""

    metrics: frozenset[str]
    matched: Mapping[str, frozenset[str]]
    listed: frozenset[str]


def named(expression: str) -> Named:
    """Take an expression apart. Every metric is found; a label only where it stands by name."""
    text = _RANGE.sub("", _STRING.sub('""', expression))
    listed = {label for words in _LISTED.findall(text) for label in re.findall(r"\w+", words)}
    text = _LISTED.sub("", text)
    matched: dict[str, frozenset[str]] = {}
    for metric, braces in _SELECTOR.findall(text):
        matched[metric] = matched.get(metric, frozenset()) | frozenset(_MATCHED.findall(braces))
    words = set(_WORD.findall(re.sub(r"\{[^}]*\}", "", text)))
    return Named(frozenset(words - _OPERATORS), matched, frozenset(listed))


def known_metrics() -> dict[str, frozenset[str]]:
    """Every name that a scrape has, with its labels: of the table, by kind, and Prometheus' own."""
    known = dict(FOREIGN)
    for metric in TABLE:
        if metric.counted_in is not None:
            continue
        labels = frozenset(metric.labels)
        if metric.kind is MetricKind.HISTOGRAM:
            known[f"{metric.prometheus_name}_bucket"] = labels | {"le"}
            known[f"{metric.prometheus_name}_sum"] = known[f"{metric.prometheus_name}_count"] = labels
        else:
            known[metric.prometheus_name] = labels
    return {name: labels | TARGET_LABELS for name, labels in known.items()}
