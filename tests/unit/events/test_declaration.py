import pytest

from tasker_actors.events.declaration import DeliveryMode, EventCondition, applies

SUCCEEDED = {"succeeded": True, "will_retry": False}
RETRIED = {"succeeded": False, "will_retry": True}
FAILED = {"succeeded": False, "will_retry": False}


@pytest.mark.parametrize(
    ("condition", "succeeded", "retried", "failed"),
    [
        ("success", True, False, False),
        ("failure", False, True, True),
        ("retryable_failure", False, True, False),
        ("permanent_failure", False, False, True),
        ("always", True, True, True),
    ],
)
def test_the_table_of_conditions(condition, succeeded, retried, failed):
    rule = EventCondition(condition)
    assert applies(rule, **SUCCEEDED) is succeeded
    assert applies(rule, **RETRIED) is retried
    assert applies(rule, **FAILED) is failed


@pytest.mark.parametrize("condition", EventCondition)
def test_will_retry_means_nothing_after_a_success(condition):
    assert applies(condition, succeeded=True, will_retry=True) is applies(condition, **SUCCEEDED)


def test_where_each_delivery_mode_goes():
    assert {mode for mode in DeliveryMode if mode.is_durable} == {DeliveryMode.DURABLE, DeliveryMode.BROADCAST}
    assert {mode for mode in DeliveryMode if mode.is_fast} == {DeliveryMode.FAST, DeliveryMode.BROADCAST}
