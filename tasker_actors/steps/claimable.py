"""Which namespaces a worker claims for: a supervisor claims only those for which it has every handler (SPEC 5)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

LEFT_OUT_S = 30.0
"""A namespace is left out for so long, then looked at again: what could not run here may have run elsewhere since."""


class ClaimableNamespaces:
    """The namespaces of this supervisor, but for those that brought a step whose handler is not here; for one thread.

    Another supervisor may have registered a template that this one has never seen. Its steps must wait for that one,
    and to take them up again and again only to give them back would keep both from working.
    """

    def __init__(self, namespaces: Iterable[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._namespaces = tuple(namespaces)
        self._clock = clock
        self._out_until: dict[str, float] = {}

    def now(self) -> list[str]:
        """List those to claim for now."""
        now = self._clock()
        return [name for name in self._namespaces if self._out_until.get(name, now) <= now]

    def leave_out(self, namespace: str) -> None:
        """Claim nothing of a namespace for a while."""
        self._out_until[namespace] = self._clock() + LEFT_OUT_S
