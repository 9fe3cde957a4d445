"""Who pays for the death of a worker (DESIGN 3 rule 3): a pure rule."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

Verdict = Literal["charged", "lost", "returned"]


def judge(
    tokens: Sequence[int],
    suspects: Collection[int],
    running: Collection[int] | None,
    *,
    noted: Collection[int] = (),
    unseen: Collection[int] = (),
) -> dict[int, Verdict]:
    """Decide for each lease whether its attempt is `charged`, `lost` or `returned`.

    `running` are the tokens that had begun and were not committed. A step that ran alone is charged. Steps that ran
    beside each other are lost: not charged, because only one of them can be the cause, but suspect, so that each runs
    alone next. A suspect was alone. What had not begun goes back as it was.

    `running` is None if nobody saw the process die, because its supervisor or its machine died too. Of the suspects the
    database has then `noted` the one that had begun, and it is charged; beside it nothing had. Of the others any may
    have, also none: what killed them may have been in another process. So they go back, and only those that this
    befalls a second time, the `unseen` ones, are lost. None of them is charged.
    """
    if running is None:
        begun = frozenset(noted) or frozenset(unseen).difference(suspects)
        alone = False
    else:
        begun = frozenset(tokens).intersection(running)
        alone = len(begun) == 1
    return {
        token: "returned" if token not in begun else "charged" if alone or token in suspects else "lost"
        for token in tokens
    }


def may_have_ended_all(tokens: Sequence[int], suspects: Collection[int], noted: Collection[int]) -> frozenset[int]:
    """Tell which leases are `unseen` from now on, where nobody saw the process die: those that may have begun in it."""
    return frozenset(noted) or frozenset(tokens).difference(suspects)
