"""What is wrong with a result that should say how a task goes on: told to the author of the handler."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from tasker_actors.events.json_faults import MAX_DEPTH
from tasker_actors.workflow.nearest import hint

_SHOWN = 60


class OutcomeFault(Exception):  # noqa: N818 - not an error of ours: it becomes the failure of an attempt
    """A result that cannot be followed; another attempt would give the same. `error_type` is that of the failure."""

    def __init__(self, error_type: str, place: str, key: str, message: str) -> None:
        self.error_type = error_type
        super().__init__(f"{place}: {key}: {message}")


class OutcomePart:
    """One mapping of a result, read key by key. `place` names template and step, `key` the mapping itself."""

    def __init__(self, value: Any, error_type: str, place: str, key: str) -> None:
        self._error_type = error_type
        self._place = place
        self._key = key
        if not isinstance(value, dict):
            raise self.fault("", f"must be a mapping, not {shown(value)}")
        self._value = value

    def fault(self, key: str, message: str) -> OutcomeFault:
        """Say what is wrong with a value; an empty key stands for the mapping itself."""
        inside = f"{self._key}.{key}" if key and self._key else key or self._key
        return OutcomeFault(self._error_type, self._place, inside, message)

    def has(self, key: str) -> bool:
        """Tell whether a key has a value."""
        return self._value.get(key) is not None

    def get(self, key: str) -> Any:
        """Return a value that must be there."""
        if key not in self._value:
            raise self.fault(key, f"is missing{hint(key, map(str, self._value))}")
        return self._value[key]

    def choice(self, key: str, choices: Iterable[str]) -> str:
        """Return a text that is one of these."""
        value, known = self.get(key), list(choices)
        if value not in known:
            nearest = hint(value, known) if isinstance(value, str) else ""
            raise self.fault(key, f"must be one of {', '.join(known)}, not {shown(value)}{nearest}")
        return str(value)

    def count(self, key: str, *, least: int = 0) -> int:
        """Return a whole number of at least `least`."""
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.fault(key, f"must be a whole number of at least {least}, not {shown(value)}")
        return value

    def list(self, key: str) -> list[Any]:
        """Return a list, which may be a tuple too."""
        value = self.get(key)
        if not isinstance(value, list | tuple):
            raise self.fault(key, f"must be a list, not {shown(value)}")
        return list(value)


def read_result(result: bytes, error_type: str, place: str) -> Any:
    """Parse a result that says how a task goes on; OutcomeFault where it is nested too deep to be looked into."""
    said = orjson.loads(result)
    # Bytes that were JSON when the handler returned them may be nested four times as deep as what is written here.
    write_json(said, error_type, place)
    return said


def write_json(made: Any, error_type: str, place: str) -> bytes:
    """Write as JSON what was made of a result; OutcomeFault where it is nested too deep for that."""
    try:
        return orjson.dumps(made)
    except orjson.JSONEncodeError as error:
        message = f"is nested too deep: with what is stored around it there can be {MAX_DEPTH} levels"
        raise OutcomeFault(error_type, place, "result", message) from error


def shown(value: Any) -> str:
    """Show a value in a message, as far as it is short."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
