"""What must hold between the keys of a limit, and between the limits of a step and of a template. See `rules.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tasker_actors.workflow.faults import FaultCollector, Path, dotted
from tasker_actors.workflow.limits import MAX_LIMITS, LimitKind, LimitScope, limit_name

_Identity = tuple[str, str, str]
_PLACE_OF_ANY_STEP = ""
_NUMBERS = ("max_concurrent", "rate", "period_seconds")


def check_limits(document: Mapping[str, Any], steps: list[tuple[int, dict[str, Any]]], faults: FaultCollector) -> None:
    """Report limits that say too little or too much, the same as another one of their step, or other numbers."""
    template = document.get("name")
    numbers = _Numbers(faults)
    general = list(_limits(document, (), faults))
    for path, limit in general:
        _check_keys(limit, path, faults)
    again = _check_same(_identities(general, template, None), {}, faults)
    numbers.compare(general, _identities(general, template, None), but=again)
    for index, step in steps:
        own = list(_limits(step, ("steps", index), faults))
        for path, limit in own:
            _check_keys(limit, path, faults)
        shared = {identity: path for path, identity in _identities(general, template, step.get("name"), for_all=True)}
        again = _check_same(_identities(own, template, step.get("name")), shared, faults)
        numbers.compare(own, _identities(own, template, step.get("name")), but=again)


class _Numbers:
    """The numbers of every limit of a template: who shares a limit must say the same ones."""

    def __init__(self, faults: FaultCollector) -> None:
        self._faults = faults
        self._known: dict[_Identity, tuple[Path, list[Any]]] = {}

    def compare(
        self, limits: list[tuple[Path, dict[str, Any]]], named: Iterator[tuple[Path, _Identity]], *, but: set[Path]
    ) -> None:
        """Report limits with other numbers than the same limit has elsewhere, `but` those that are wrong anyway."""
        said = {path: [limit.get(key) for key in _NUMBERS] for path, limit in limits}
        for path, identity in named:
            first, numbers = self._known.setdefault(identity, (path, said[path]))
            if numbers != said[path] and path not in but:
                self._faults.error(
                    path, f"is the limit of {dotted(first)}, with other numbers: one limit has one number"
                )


def _limits(parent: Mapping[str, Any], path: Path, faults: FaultCollector) -> Iterator[tuple[Path, dict[str, Any]]]:
    given = parent.get("limits")
    if not isinstance(given, list):
        return
    if len(given) > MAX_LIMITS:
        faults.error((*path, "limits"), f"must have at most {MAX_LIMITS} entries, not {len(given)}")
    for index, limit in enumerate(given[:MAX_LIMITS]):
        if isinstance(limit, dict):
            yield (*path, "limits", index), limit


def _check_keys(limit: Mapping[str, Any], path: Path, faults: FaultCollector) -> None:
    has = {key: limit.get(key) is not None for key in ("max_concurrent", "rate", "period_seconds", "field")}
    if has["max_concurrent"] == has["rate"]:
        faults.error(path, "must have either max_concurrent, or rate with period_seconds")
    elif has["rate"] and not has["period_seconds"]:
        faults.error((*path, "period_seconds"), "is missing: a rate is so many steps in so many seconds")
    elif has["period_seconds"] and not has["rate"]:
        faults.error((*path, "period_seconds"), "belongs to a rate, and max_concurrent has none")
    scope = limit.get("scope")
    if scope == LimitScope.CONTEXT and not has["field"]:
        faults.error((*path, "field"), "is missing: scope context needs the path of a field of the context")
    elif has["field"] and isinstance(scope, str) and scope != LimitScope.CONTEXT:
        faults.error((*path, "field"), f"belongs to scope {LimitScope.CONTEXT}, not to {scope}")


def _check_same(
    limits: Iterator[tuple[Path, _Identity]], others: Mapping[_Identity, Path], faults: FaultCollector
) -> set[Path]:
    """Report what is there already, and return where."""
    known, again = dict(others), set()
    for path, identity in limits:
        if identity in known:
            faults.error(path, f"is the same limit as {dotted(known[identity])}: give one of them another name")
            again.add(path)
        known.setdefault(identity, path)
    return again


def _identities(
    limits: list[tuple[Path, dict[str, Any]]], template: Any, step: Any, *, for_all: bool = False
) -> Iterator[tuple[Path, _Identity]]:
    """Yield what tells limits apart, of those that can be named: the models report the others."""
    for path, limit in limits:
        scope, name, field = limit.get("scope"), limit.get("name"), limit.get("field")
        if (
            not isinstance(scope, str)
            or scope not in set(LimitScope)
            or not all(part is None or isinstance(part, str) for part in (name, field))
        ):
            continue
        kind = LimitKind.RATE if limit.get("max_concurrent") is None else LimitKind.CONCURRENCY
        shared = scope == LimitScope.CONTEXT and (for_all or step is None)
        place = None if shared else str(step or _PLACE_OF_ANY_STEP)
        named = limit_name(LimitScope(scope), kind, name=name, field=field, template=str(template), step=place)
        yield path, (str(scope), named, kind.value)
