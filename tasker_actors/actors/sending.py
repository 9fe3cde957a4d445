"""Sends over a link, and counts by reason what the link does not take."""

from __future__ import annotations

from typing import Final

from tasker_actors.actors.errors import LinkClosedError, LinkFullError
from tasker_actors.actors.link import ProcessLink
from tasker_actors.actors.tally import DeliveryTally
from tasker_actors.errors import ProtocolError

TOO_MANY: Final = "too_many"
TOO_LARGE: Final = "too_large"
CLOSED: Final = "closed"


def send(
    link: ProcessLink, packet: bytes, tally: DeliveryTally, *, urgent: bool = False, timeout: float | None = None
) -> None:
    """Send a packet as `ProcessLink.send` does, with its errors; whichever it is, it has been counted then."""
    try:
        link.send(packet, urgent=urgent, timeout=timeout)
    except LinkFullError:
        tally.dropped(1, TOO_MANY)
        raise
    except LinkClosedError:
        tally.dropped(1, CLOSED)
        raise
    except ProtocolError:  # the only one that sending raises: a packet that is larger than a frame
        tally.dropped(1, TOO_LARGE)
        raise
