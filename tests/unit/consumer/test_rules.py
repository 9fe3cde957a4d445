"""How often a message is read before it is set aside."""

import pytest

from tasker_actors.consumer.rules import LAST_TRY, Verdict, is_exhausted, verdict


@pytest.mark.parametrize(
    ("read_count", "headers", "expected"),
    [
        (1, {}, Verdict.HANDLE),
        (5, {}, Verdict.HANDLE),
        (5, {LAST_TRY: 4}, Verdict.HANDLE),
        (6, {}, Verdict.LAST_TRY),
        (60, {}, Verdict.LAST_TRY),
        (7, {LAST_TRY: 6}, Verdict.REJECT),
    ],
)
def test_only_a_message_that_was_tried_once_too_often_is_rejected_unhandled(read_count, headers, expected):
    assert verdict(read_count, 5, headers) is expected


def test_a_failure_at_the_last_read_is_the_last():
    assert [is_exhausted(read_count, 3) for read_count in (1, 2, 3, 4)] == [False, False, True, True]
