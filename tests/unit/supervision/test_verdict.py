"""Who is charged for a dead worker (DESIGN 3 rule 3): judged from what ran beside what."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tasker_actors.supervision.verdict import judge, may_have_ended_all


def test_what_had_not_begun_is_returned():
    assert judge([1, 2], set(), set()) == {1: "returned", 2: "returned"}


def test_what_ran_alone_is_charged():
    assert judge([1, 2, 3], set(), {2}) == {1: "returned", 2: "charged", 3: "returned"}


def test_what_ran_beside_others_is_lost():
    assert judge([1, 2, 3], set(), {1, 3}) == {1: "lost", 2: "returned", 3: "lost"}


def test_a_suspect_ran_alone_so_it_is_charged():
    assert judge([1, 2], {2}, {2}) == {1: "returned", 2: "charged"}


def test_a_suspect_that_had_not_begun_is_returned():
    assert judge([1, 2], {2}, {1}) == {1: "charged", 2: "returned"}


def test_where_nobody_saw_what_ran_only_those_that_this_befalls_again_become_suspects():
    assert judge([1, 2, 3], set(), None) == {1: "returned", 2: "returned", 3: "returned"}
    assert judge([1, 2, 3], set(), None, unseen={1, 3}) == {1: "lost", 2: "returned", 3: "lost"}
    assert judge([1], set(), None, unseen={1}) == {1: "lost"}


def test_unseen_are_all_that_may_have_begun():
    assert may_have_ended_all([1, 2, 3], {3}, set()) == {1, 2}
    assert may_have_ended_all([1, 2, 3], {2, 3}, {2}) == {2}


def test_tokens_that_are_leased_no_longer_do_not_count():
    assert judge([1], set(), {1, 99}) == {1: "charged"}
    assert judge([], set(), {99}) == {}


tokens = st.sets(st.integers(1, 30))


def test_a_suspect_that_nobody_saw_begin_is_charged_if_the_database_noted_it_and_then_nothing_else_had_begun():
    assert judge([1, 2, 3], {2, 3}, None, noted={2}, unseen={1, 2}) == {1: "returned", 2: "charged", 3: "returned"}


def test_a_suspect_that_is_not_noted_has_not_begun():
    assert judge([1, 2], {2}, None, unseen={1, 2}) == {1: "lost", 2: "returned"}


def test_what_is_noted_and_was_not_seen_to_begin_is_returned():
    assert judge([1], {1}, set(), noted={1}) == {1: "returned"}


@given(leases=tokens, suspects=tokens, running=st.none() | tokens)
def test_every_lease_is_judged_and_at_most_one_that_is_no_suspect_is_charged(leases, suspects, running):
    verdicts = judge(sorted(leases), suspects, running, unseen=leases)

    assert set(verdicts) == leases
    charged = {token for token, verdict in verdicts.items() if verdict == "charged"}
    lost = {token for token, verdict in verdicts.items() if verdict == "lost"}
    begun = leases - suspects if running is None else leases & running
    assert charged | lost == begun
    assert len(charged - suspects) <= 1
    assert not (charged - suspects and lost)
    assert not lost & suspects
