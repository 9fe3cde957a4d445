"""What a slot says of its incarnations."""

from __future__ import annotations

import pytest

from tasker_actors.supervision.slots import Incarnation, IncarnationState, Slot


@pytest.mark.parametrize("state", IncarnationState)
def test_an_incarnation_has_a_process_in_three_of_its_states(state: IncarnationState):
    with_process = {IncarnationState.STARTING, IncarnationState.RUNNING, IncarnationState.DRAINING}
    assert Incarnation(0, 1, state).has_process is (state in with_process)
    assert Incarnation(0, 1, state).pid is None


def test_of_two_running_incarnations_the_newest_stands_for_the_slot():
    slot = Slot(3)
    assert slot.running is None
    first, second = slot.add_incarnation(), slot.add_incarnation()
    assert [(one.slot, one.number) for one in (first, second)] == [(3, 1), (3, 2)]

    first.state = IncarnationState.RUNNING
    assert slot.running is first
    second.state = IncarnationState.RUNNING
    assert slot.running is second
    first.state = IncarnationState.DRAINING
    slot.remove(second)
    assert slot.running is None
    assert slot.incarnations == (first,)


def test_a_slot_is_empty_without_incarnations_unless_one_is_due():
    slot = Slot(0)
    assert slot.is_empty
    slot.start_after = 5.0
    assert not slot.is_empty
    only = slot.add_incarnation()
    assert slot.start_after is None
    assert not slot.is_empty
    slot.remove(only)
    assert slot.is_empty
    assert slot.add_incarnation().number == 2
