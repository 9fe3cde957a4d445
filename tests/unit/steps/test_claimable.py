"""Namespaces that are left to other supervisors for a while."""

from __future__ import annotations

from tasker_actors.steps.claimable import LEFT_OUT_S, ClaimableNamespaces


def test_a_namespace_that_is_left_out_is_claimed_for_again_later():
    now = [100.0]
    namespaces = ClaimableNamespaces(["flights", "shop"], lambda: now[0])
    assert namespaces.now() == ["flights", "shop"]

    namespaces.leave_out("shop")

    now[0] += LEFT_OUT_S - 1
    assert namespaces.now() == ["flights"]
    now[0] += 1
    assert namespaces.now() == ["flights", "shop"]
