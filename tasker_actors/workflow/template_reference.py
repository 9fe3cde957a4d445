"""How people name a template: `namespace/name`, or `namespace/name@version`."""

from __future__ import annotations

import re
from typing import NamedTuple

_REFERENCE = re.compile(r"(?P<namespace>[^/@\s]+)/(?P<name>[^/@\s]+)(?:@(?P<version>[^/@\s]+))?")


class TemplateReference(NamedTuple):
    """A template by its names; no version means the newest."""

    namespace: str
    name: str
    version: str | None


def parse_template_reference(text: str) -> TemplateReference | None:
    """Read a reference; None for anything else."""
    match = _REFERENCE.fullmatch(text)
    return None if match is None else TemplateReference(match["namespace"], match["name"], match["version"])
