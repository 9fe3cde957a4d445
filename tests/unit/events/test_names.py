import pytest

from tasker_actors.events.names import EVENT_NAME_RE, NAMESPACE_RE, check_event_name, check_namespace


@pytest.mark.parametrize("text", ["a", "flights", "a1_b2", "a" * 29])
def test_namespaces_that_are_allowed(text):
    assert check_namespace(text) is None
    assert NAMESPACE_RE.match(text)


@pytest.mark.parametrize("text", ["", "1a", "_a", "A", "bad-name", "a b", "a.b", "a" * 30, "a\n", "é", "\uff41"])
def test_namespaces_that_are_refused(text):
    assert check_namespace(text)
    assert not NAMESPACE_RE.match(text)


@pytest.mark.parametrize("text", ["a.b", "payment.card.processed", "0.1", "_._", "a." + "b" * 253])
def test_event_names_that_are_allowed(text):
    assert check_event_name(text) is None
    assert EVENT_NAME_RE.match(text)


@pytest.mark.parametrize("text", ["", "a", ".a", "a.", "a..b", "A.b", "a.b\n", "a-b.c", "a.*", "\u0661.\u0662"])
def test_event_names_that_are_refused(text):
    assert check_event_name(text)
    assert not EVENT_NAME_RE.match(text)


def test_a_name_over_the_limit_is_told_its_length_and_not_shown_in_full():
    fault = check_event_name("a." + "b" * 300)
    assert fault is not None
    assert "302 characters, at most 255" in fault
    assert len(fault) < 200


def test_a_fault_can_be_printed_whatever_the_name_has_in_it():
    fault = check_namespace("\ud800\0")
    assert fault is not None
    assert fault.isascii()
    assert fault.isprintable()


def test_the_longest_namespace_leaves_room_for_the_longest_queue_name():
    assert len("n" * 29 + "_domain_events_dlq") == 47
