"""Which version of a template is the newest."""

from __future__ import annotations

import re
from typing import TypeAlias

# 18 digits fit every integer column; a longer run of digits is text that happens to look like a number.
_NUMBERED = re.compile(
    r"\A[vV]?(?P<release>[0-9]{1,18}(?:\.[0-9]{1,18})*)"
    r"(?:-(?P<pre>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
    r"(?:\+[0-9A-Za-z.-]+)?\Z"
)
_NUMBER = re.compile(r"\A[0-9]{1,18}\Z")

_Identifier: TypeAlias = tuple[int, int, str]
VersionKey: TypeAlias = tuple[int, tuple[int, ...], int, tuple[_Identifier, ...], str]


def version_key(version: str) -> VersionKey:
    """Make the key that sorts versions from the oldest to the newest.

    Numbered versions (`1`, `1.2`, `v1.2.3-rc.1+build`) follow Semantic Versioning 2.0 section 11, with any number of
    places, where missing ones are 0. Every other text is older than every numbered version, and sorts as text. The
    text is the last part of the key, so that two different versions are never equal.
    """
    numbered = _NUMBERED.match(version)
    if numbered is None:
        return (0, (), 0, (), version)
    release = [int(place) for place in numbered["release"].split(".")]
    while release and release[-1] == 0:
        release.pop()
    pre = numbered["pre"]
    identifiers = tuple(_identifier(part) for part in pre.split(".")) if pre else ()
    return (1, tuple(release), 0 if pre else 1, identifiers, version)


def _identifier(part: str) -> _Identifier:
    return (0, int(part), "") if _NUMBER.match(part) else (1, 0, part)
