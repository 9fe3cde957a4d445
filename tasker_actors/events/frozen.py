"""Read-only JSON: what one subscriber cannot change for another."""

from __future__ import annotations

from typing import Any, NoReturn

_CONTAINERS = (dict, list, tuple)


class FrozenDict(dict[str, Any]):
    """A dict that refuses every change.

    A dict and not a proxy, so that `json.dumps`, `isinstance(…, dict)`, `==` and `{**…}` work on it as handlers of
    events expect. Copies (`copy`, `copy.deepcopy`, `dict(…)`) are plain and can be changed.
    """

    __slots__ = ()

    def _refuse(self, *_args: object, **_kwargs: object) -> NoReturn:
        raise TypeError("an event is read-only; change a copy, such as event.to_dict()")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __copy__(self) -> dict[str, Any]:
        return dict(self)

    def __deepcopy__(self, _memo: object) -> Any:
        return thaw(self)

    def __reduce__(self) -> tuple[type[FrozenDict], tuple[dict[str, Any]]]:
        return FrozenDict, (dict(self),)


def freeze(value: Any) -> Any:
    """Copy a JSON value with every dict read-only and every list a tuple."""
    if isinstance(value, dict):
        # Most values are neither: copied whole and looked through instead of built key by key: subscribers wait for it.
        frozen = FrozenDict(value)
        for key, item in value.items():
            if isinstance(item, _CONTAINERS):
                dict.__setitem__(frozen, key, freeze(item))
        return frozen
    if isinstance(value, list | tuple):
        return tuple([freeze(item) if isinstance(item, _CONTAINERS) else item for item in value])
    return value


def thaw(value: Any) -> Any:
    """Copy a frozen JSON value into plain dicts and lists."""
    if isinstance(value, dict):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [thaw(item) for item in value]
    return value
