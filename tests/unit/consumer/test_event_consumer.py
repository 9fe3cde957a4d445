"""What the consumer refuses before it connects to anything."""

from __future__ import annotations

import asyncio

import pytest

from tasker_actors import EventConsumer
from tasker_actors.errors import ConfigurationError

URL = "postgresql://somebody@localhost/nothing"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"namespace": "No Name"}, "namespace 'No Name' must start with a-z"),
        ({"visibility_timeout_s": 0}, "visibility_timeout_s is 0: a whole number from 1 to 86400"),
        ({"visibility_timeout_s": 0.5}, "visibility_timeout_s is 0.5"),
        ({"batch_size": 1001}, "batch_size is 1001: a whole number from 1 to 1000"),
        ({"max_reads": 0}, "max_reads is 0"),
        ({"poll_interval_s": 0}, "poll_interval_s is 0: above 0"),
        ({"poll_interval_s": float("nan")}, "poll_interval_s is nan"),
        ({"acknowledge": "forget"}, "acknowledge is 'forget': archive or delete"),
        ({"database_url": "postgresql://u:s3cret/@h/d"}, "the database URL cannot be read"),
    ],
)
def test_arguments_that_cannot_be_used_are_told(arguments, said):
    with pytest.raises(ConfigurationError) as caught:
        EventConsumer(**{"database_url": URL, "namespace": "shop", **arguments})
    assert said in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_consumer_that_was_stopped_before_it_ran_returns_at_once():
    with EventConsumer(URL, "shop") as consumer:
        pass
    consumer.run(print)


def test_it_does_not_block_an_event_loop():
    async def application():
        EventConsumer(URL, "shop").run(print)

    with pytest.raises(RuntimeError, match=r"asyncio\.to_thread"):
        asyncio.run(application())
