"""What both ends of a link agree on: names, in addresses and in metrics, and limits."""

from tasker_actors.actors import LinkLimits
from tasker_actors.settings import load_settings
from tasker_actors.supervision.boot import link_limits, mailbox_kind, mailbox_name


def test_metrics_know_one_mailbox_whatever_slot_and_incarnation_it_is_for():
    assert {mailbox_kind(mailbox_name(slot, 7)) for slot in (0, 12)} == {"slot"}
    assert mailbox_kind("maintenance") == "maintenance"


def test_the_limits_of_a_link_are_those_of_the_settings_and_by_default_its_own():
    assert link_limits(load_settings(environ={}).links) == LinkLimits()
    environ = {
        "TASKER_LINKS__MAX_MESSAGE_BYTES": "2000000",
        "TASKER_LINKS__MAX_QUEUED_MESSAGES": "2",
        "TASKER_LINKS__MAX_QUEUED_BYTES": "3000",
        "TASKER_LINKS__SEND_TIMEOUT_MS": "4",
    }
    assert link_limits(load_settings(environ=environ).links) == LinkLimits(2_000_000, 2, 3000, 4)
