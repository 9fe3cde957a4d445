"""Collects what is wrong with one template file, in the words of its reader: step, dotted key, what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tasker_actors.errors import Fault, TemplateError
from tasker_actors.workflow.nearest import hint

MAX_FAULTS = 1_000
"""A file with more faults than that is told so; a hostile one must not cost minutes."""

Path = tuple[str | int, ...]

_KINDS = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
    "enum": "text",
}

_LIMITS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}

_PHRASES = {
    "missing": "is missing",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
}

_SHOWN = 60


class FaultCollector:
    """Turns paths of a template's document into faults that name step and key.

    `document` is the file's content as it was read: a path that begins with a step's place becomes that step's name.
    """

    def __init__(self, file: str, document: Any) -> None:
        self.faults: list[Fault] = []
        self._file = file
        self._document = document
        self._seen: set[tuple[Path, str]] = set()
        self._environment: str | None = None

    def error(self, path: Path, message: str, *, meant: tuple[str, Iterable[str]] | None = None) -> None:
        """Note an error; `meant` is a name and the known ones, of which the nearest is suggested."""
        self._add(path, message, meant, severity="error")

    def warning(self, path: Path, message: str, *, meant: tuple[str, Iterable[str]] | None = None) -> None:
        """Note a warning, which is an error where templates are read strictly."""
        self._add(path, message, meant, severity="warning")

    def notice(self, path: Path, message: str) -> None:
        """Note what has no effect: a warning everywhere, because nothing that the template can rely on is missing."""
        self._add(path, message, None, severity="notice")

    def go_on_with(self, environment: str) -> None:
        """Say of all further faults that they are in this environment; those that are known already are left out."""
        self._environment = environment

    def add_validation_errors(self, error: ValidationError) -> None:
        """Note everything that pydantic found."""
        for details in error.errors(include_url=False):
            self.error(tuple(details["loc"]), _message(details))

    @property
    def has_errors(self) -> bool:
        """Whether any fault is more than a warning."""
        return any(fault.severity == "error" for fault in self.faults)

    def _add(self, path: Path, message: str, meant: tuple[str, Iterable[str]] | None, *, severity: str) -> None:
        if (path, message) in self._seen:
            return
        if len(self.faults) >= MAX_FAULTS:
            if len(self.faults) == MAX_FAULTS:
                self.faults.append(Fault(self._file, None, "", f"more than {MAX_FAULTS} faults, the rest is left out"))
            return
        self._seen.add((path, message))
        step, key = self._locate(path)
        where = f" (in environment {self._environment})" if self._environment else ""
        self.faults.append(Fault(self._file, step, key, message + (hint(*meant) if meant else "") + where, severity))

    def _locate(self, path: Path) -> tuple[str | None, str]:
        match path:
            case ("steps", int() as index, *inside):
                name = _step_name(self._document, index)
                if name is not None:
                    return name, dotted(inside)
            case _:
                pass
        return None, dotted(path)


def dotted(path: Iterable[str | int]) -> str:
    """Write a path as a reader would: `steps[0].retry.backoff`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def settle(faults: Sequence[Fault], *, strict: bool) -> list[Fault]:
    """Return warnings and notices, or raise TemplateError with every error; strictly, warnings are errors too."""
    errors = [
        Fault(fault.file, fault.step, fault.key, fault.message) if strict else fault
        for fault in faults
        if fault.severity == "error" or (strict and fault.severity == "warning")
    ]
    if errors:
        raise TemplateError(errors)
    return list(faults)


def _step_name(document: Any, index: int) -> str | None:
    steps = document.get("steps") if isinstance(document, dict) else None
    if not isinstance(steps, list | tuple) or index >= len(steps) or not isinstance(steps[index], dict):
        return None
    name = steps[index].get("name")
    return name if isinstance(name, str) and name else None


def _message(details: ErrorDetails) -> str:
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "enum" and isinstance(value, str):
        allowed = _enum_values(str(context["expected"]))
        return f"must be one of {', '.join(allowed)}, not {_shown(value)}{hint(value, allowed)}"
    if kind in _KINDS:
        quotes = ": put it in quotes" if kind == "string_type" and isinstance(value, int | float) else ""
        return f"must be {_KINDS[kind]}, not {_shown(value)}{quotes}"
    if kind in _LIMITS:
        name, words = _LIMITS[kind]
        return f"must be {words} {int(context[name])}, not {_shown(value)}"
    if kind in _PHRASES:
        return _PHRASES[kind].format(**context)
    return details["msg"]


def _enum_values(expected: str) -> list[str]:
    return [part.strip(" '") for part in expected.replace(" or ", ",").split(",")]


def _shown(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case _:
            text = repr(value)
            return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
