"""Who pays for the death of a worker (DESIGN 3 rule 3): a pure rule."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

Verdict = Literal["charged", "lost", "returned"]


def judge(
    tokens: Sequence[int], suspects: Collection[int], running: Collection[int] | None, noted: Collection[int] = ()
) -> dict[int, Verdict]:
    """Decide for each lease whether its attempt is `charged`, `lost` or `returned`.

    `running` are the tokens that had begun and were not committed, None if nobody saw the process die. Then everything
    may have begun, but for suspects: of those the database has `noted` the one that has, and beside it nothing had. No
    other is charged then: what killed it may have been in another process that died with it.

    A step that ran alone is charged. Steps that ran beside each other are lost: not charged, because only one of them
    can be the cause, but suspect, so that each runs alone next. A suspect was alone. What had not begun goes back as it
    was.
    """
    if running is None:
        begun = frozenset(noted) or frozenset(tokens).difference(suspects)
        alone = False
    else:
        begun = frozenset(tokens).intersection(running)
        alone = len(begun) == 1
    return {
        token: "returned" if token not in begun else "charged" if alone or token in suspects else "lost"
        for token in tokens
    }
