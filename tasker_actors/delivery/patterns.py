"""Subscription patterns (SPEC 2.3): which subscribers want an event of a name."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from tasker_actors.errors import ConfigurationError

MAX_CACHED_NAMES = 10_000
"""Names come from users, so the cache of answers is bounded; when it is full it starts anew."""

_ONE = "*"
_ANY = "#"

K = TypeVar("K", bound=Hashable)


class PatternError(ConfigurationError):
    """A subscription pattern cannot be read; the message quotes it and says what to write."""


class Pattern:
    """A compiled pattern. `*` alone matches every name; made by `compile_pattern`."""

    __slots__ = ("_everything", "_literal", "_segments", "text")

    def __init__(self, text: str, segments: tuple[str, ...]) -> None:
        self.text = text
        self._segments = segments
        self._everything = segments in ((_ONE,), (_ANY,))
        self._literal = _ONE not in segments and _ANY not in segments

    def matches(self, name: str) -> bool:
        """Tell whether an event of this name is wanted; at worst the product of both numbers of segments."""
        if self._everything:
            return True
        if self._literal:
            return name == self.text
        return _matches(self._segments, name.split("."))

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"


class PatternIndex(Generic[K]):
    """Answers, for many patterns at once, whose they are: built once, read by any thread.

    Raises PatternError for a pattern that cannot be read, with the key that it came with.
    """

    def __init__(self, pairs: Iterable[tuple[K, str]], *, max_cached_names: int = MAX_CACHED_NAMES) -> None:
        self._patterns: dict[K, list[Pattern]] = {}
        for key, text in pairs:
            try:
                pattern = compile_pattern(text)
            except PatternError as error:
                raise PatternError(f"{key}: {error}") from None
            self._patterns.setdefault(key, []).append(pattern)
        self._cache: dict[str, tuple[K, ...]] = {}
        self._max_cached_names = max_cached_names

    @property
    def key_count(self) -> int:
        """How many keys there are."""
        return len(self._patterns)

    @property
    def pattern_count(self) -> int:
        """How many different patterns there are."""
        return len({pattern.text for patterns in self._patterns.values() for pattern in patterns})

    def keys_for(self, name: str) -> tuple[K, ...]:
        """Return the keys with a matching pattern, each once, in the order of their first pair."""
        found = self._cache.get(name)
        if found is None:
            found = tuple(
                key for key, patterns in self._patterns.items() if any(pattern.matches(name) for pattern in patterns)
            )
            if len(self._cache) >= self._max_cached_names:
                self._cache.clear()
            self._cache[name] = found
        return found


def compile_pattern(text: str) -> Pattern:
    """Read a pattern; raises PatternError for what is none."""
    if not isinstance(text, str):
        raise PatternError(f"pattern {text!r} is no text; write one such as 'payment.*'")
    if not text:
        raise PatternError("a pattern must not be empty; '*' matches every event")
    segments = tuple(text.split("."))
    for segment in segments:
        if not segment:
            raise PatternError(f"pattern {text!r} has an empty segment; write one name, '*' or '#' between two dots")
        if segment not in (_ONE, _ANY) and (_ONE in segment or _ANY in segment):
            raise PatternError(
                f"pattern {text!r}: segment {segment!r} has '*' or '#' beside other characters;"
                " each stands for whole segments and must stand alone"
            )
    return Pattern(text, segments)


def _matches(pattern: tuple[str, ...], name: list[str]) -> bool:
    """Match segment by segment; after a mismatch let the last `#` take one segment more.

    Only the last `#` has to be retried: an earlier one that takes more leaves less to those behind it.
    """
    at = position = 0
    retry_at, retry_position = -1, 0
    while position < len(name):
        if at < len(pattern) and pattern[at] == _ANY:
            retry_at, retry_position = at, position
            at += 1
        elif at < len(pattern) and pattern[at] in (_ONE, name[position]):
            at += 1
            position += 1
        elif retry_at >= 0:
            retry_position += 1
            at, position = retry_at + 1, retry_position
        else:
            return False
    return all(segment == _ANY for segment in pattern[at:])
