"""The short form of the chaos runs: every kind of fault at least once, in two halves that run by themselves.

The long form is `scripts/chaos`.
"""

from __future__ import annotations

import pytest
from chaos.run import Plan, chaos
from chaos.schedule import FaultKind

SECONDS = 38.0
PAUSE_S = 2.4


@pytest.mark.timeout(175)
@pytest.mark.parametrize("half", [0, 1])
def test_nothing_is_lost_whatever_breaks(half):
    kinds = tuple(FaultKind)[half::2]
    plan = Plan(seed=41 + half, seconds=SECONDS, pause_s=PAUSE_S, kinds=kinds, workers=2, rate=30.0)
    assert {fault.kind for fault in plan.schedule} == set(kinds)

    report = chaos(plan, print)

    print(report.as_text())
    assert report.complaints == ()
    assert set(report.faults) == set(kinds)
    assert report.work["tasks"] > 0
