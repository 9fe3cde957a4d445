"""How actors of the link between supervisor and worker are named, in addresses and in metrics."""

from tasker_actors.supervision.boot import mailbox_kind, mailbox_name


def test_metrics_know_one_mailbox_whatever_slot_and_incarnation_it_is_for():
    assert {mailbox_kind(mailbox_name(slot, 7)) for slot in (0, 12)} == {"slot"}
    assert mailbox_kind("maintenance") == "maintenance"
