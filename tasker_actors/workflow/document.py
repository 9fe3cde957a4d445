"""Reads one YAML document into JSON values, within bounds, and says everything that is wrong with it.

The parser's events are put together here instead of by a YAML constructor: nothing is built by a tag, nothing
recurses, a duplicate key is a fault, and an alias costs what it would cost written out (no alias bombs).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import yaml

from tasker_actors.workflow.scalars import ScalarError, plain_scalar, storable_text, tagged_scalar

MAX_DEPTH = 64
MAX_EXPANDED_SIZE = 4 * 1024 * 1024
"""Characters of text with every alias written out, each value counting at least `_VALUE_SIZE`."""
MAX_FAULTS = 1_000

_VALUE_SIZE = 32
_SECOND = 2
_PLAIN_COLLECTION_TAGS = (None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")

# libyaml's parser where PyYAML was built with it: 20 times faster, and the same events.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class DocumentFault:
    """Something wrong at a place of the document; an empty path is the document itself."""

    path: Path
    message: str


@dataclass(slots=True)
class Document:
    """What a file holds, as JSON values. Aliased values are shared: treat them as read-only."""

    value: Any = None
    faults: list[DocumentFault] = field(default_factory=list)


def read_document(text: str) -> Document:
    """Read the single YAML document of a text.

    Never raises for bad content. After a fault in a value the rest is read all the same, with null in its place or,
    for a repeated key, its first value; after a syntax fault or an exceeded bound there is no value.
    """
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except _BoundExceededError as error:
        builder.fault(str(error), at=error.line, path=())
        return Document(None, builder.faults)
    except yaml.MarkedYAMLError as error:
        reasons = " ".join(part for part in (error.context, error.problem) if part)
        builder.fault(f"invalid YAML: {reasons}", at=_line(error.problem_mark or error.context_mark), path=())
        return Document(None, builder.faults)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # The last two: the pure Python parser hands an escape beyond Unicode to chr().
        builder.fault(f"invalid YAML: {' '.join(str(error).split())}", at=None, path=())
        return Document(None, builder.faults)
    return Document(builder.root, builder.faults)


class _BoundExceededError(Exception):
    def __init__(self, message: str, line: int | None) -> None:
        super().__init__(message)
        self.line = line


_MISSING = object()
_MERGE = object()
"""Stands for an unquoted << where a key is due (YAML's merge type); in quotes it is a key like any other."""


@dataclass(slots=True)
class _Open:
    """A collection whose end has not come yet."""

    value: dict[str, Any] | list[Any]
    anchor: str | None
    size_before: int
    key: Any = _MISSING
    merged: list[dict[str, Any]] = field(default_factory=list)


class _Builder:
    """Puts values together from parser events, with a stack of its own."""

    def __init__(self) -> None:
        self.root: Any = None
        self.faults: list[DocumentFault] = []
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._size = 0
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        """Account for one event, and place the value it completes."""
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents == _SECOND:
                    self.fault("a file holds one template, but this one has a second document", _line(event.start_mark))
            case yaml.ScalarEvent():
                self._grow(len(event.value), event)
                self._place(self._scalar(event), event)
            case yaml.AliasEvent():
                self._place(self._alias(event), event)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._begin(event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._end(event)
            case _:
                pass

    def fault(self, message: str, at: int | None, path: Path | None = None) -> None:
        """Note a fault at the current place, or at the one given."""
        if len(self.faults) < MAX_FAULTS:
            where = f"line {at}: " if at else ""
            self.faults.append(DocumentFault(self._path() if path is None else path, where + message))

    def _path(self) -> Path:
        return tuple(self._steps())

    def _steps(self) -> Iterator[str | int]:
        for collection in self._open:
            if isinstance(collection.value, list):
                yield len(collection.value)
            elif collection.key is _MERGE:
                yield "<<"
            elif isinstance(collection.key, str):
                yield collection.key

    def _grow(self, size: int, event: yaml.Event) -> None:
        self._size += size + _VALUE_SIZE
        if self._size > MAX_EXPANDED_SIZE:
            raise _BoundExceededError("the file is too large once its aliases are written out", _line(event.start_mark))

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        try:
            if event.tag is not None:
                value = tagged_scalar(event.tag, event.value)
            elif event.implicit[0]:
                value = plain_scalar(event.value)
            else:
                value = storable_text(event.value)
        except ScalarError as error:
            self.fault(str(error), _line(event.start_mark))
            value = None
        if event.anchor:
            self._anchors[event.anchor] = (value, len(event.value) + _VALUE_SIZE)
        return value

    def _alias(self, event: yaml.AliasEvent) -> Any:
        if any(collection.anchor == event.anchor for collection in self._open):
            self.fault(f"alias *{event.anchor} refers to what it is part of", _line(event.start_mark))
            return None
        if event.anchor not in self._anchors:
            self.fault(f"alias *{event.anchor} has no anchor before it", _line(event.start_mark))
            return None
        value, size = self._anchors[event.anchor]
        self._grow(size, event)
        return value

    def _begin(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise _BoundExceededError(f"more than {MAX_DEPTH} levels of nesting", _line(event.start_mark))
        if event.tag not in _PLAIN_COLLECTION_TAGS:
            message = f"tag {event.tag!r} is not allowed: a template holds plain JSON values"
            self.fault(message, _line(event.start_mark))
        size_before = self._size
        self._grow(0, event)
        value: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._open.append(_Open(value, event.anchor, size_before))

    def _end(self, event: yaml.Event) -> None:
        collection = self._open.pop()
        if isinstance(collection.value, dict):
            for merged in collection.merged:
                for key, value in merged.items():
                    collection.value.setdefault(key, value)
        if collection.anchor:
            self._anchors[collection.anchor] = (collection.value, self._size - collection.size_before)
        self._place(collection.value, event)

    def _place(self, value: Any, event: yaml.Event) -> None:
        if not self._open:
            if self._documents == 1:
                self.root = value
            return
        collection = self._open[-1]
        if isinstance(collection.value, list):
            collection.value.append(value)
        elif collection.key is _MISSING:
            collection.key = _MERGE if _is_merge(event) else self._key(value, event)
        else:
            self._put(collection, collection.value, value, event)
            collection.key = _MISSING

    def _key(self, value: Any, event: yaml.Event) -> str | None:
        if isinstance(value, str):
            return value
        shown = "a collection" if isinstance(value, dict | list) else repr(value)
        self.fault(f"key {shown} must be text: write it in quotes", _line(event.start_mark))
        return None

    def _put(self, collection: _Open, mapping: dict[str, Any], value: Any, event: yaml.Event) -> None:
        key = collection.key
        if key is _MERGE:
            self._merge(collection, value, event)
        elif key in mapping:
            self.fault(f"key {key!r} is written twice in the same mapping", _line(event.start_mark))
        elif key is not None:
            mapping[key] = value

    def _merge(self, collection: _Open, value: Any, event: yaml.Event) -> None:
        """Remember the mappings of a merge key: keys written out win, then those of the earlier mapping."""
        sources = value if isinstance(value, list) else [value]
        if not all(isinstance(source, dict) for source in sources):
            self.fault("<< must be a mapping or a list of mappings", _line(event.start_mark))
            return
        collection.merged.extend(sources)


def _is_merge(event: yaml.Event) -> bool:
    return isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.tag is None and event.implicit[0]


class _Mark(Protocol):
    """What the marks of libyaml and of the pure Python parser have in common."""

    @property
    def line(self) -> int: ...


def _line(mark: _Mark | None) -> int | None:
    return mark.line + 1 if mark is not None else None
