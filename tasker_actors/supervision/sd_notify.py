"""Tells systemd what the supervisor is doing, where it asked to know (`sd_notify(3)`)."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

ALIVE = "WATCHDOG=1"

_PATIENCE_S = 1.0


class SystemdNotifier:
    """Sends datagrams to `$NOTIFY_SOCKET`; does nothing where there is none, and never fails anybody."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        # An abstract socket is written with an @ and addressed with a NUL.
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        watchdog = environ.get("WATCHDOG_USEC", "")
        is_ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_interval_s = int(watchdog) / 2_000_000 if watchdog.isdigit() and is_ours else None

    def send(self, *states: str) -> None:
        """Send states such as `READY=1` in one datagram."""
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            # Its queue holds ten messages. A watchdog's sign of life is repeated; all others come once.
            sender.settimeout(0 if states == (ALIVE,) else _PATIENCE_S)
            try:
                sender.sendto("\n".join(states).encode(), self._address)
            except OSError:
                return  # nobody listens (any more); that is systemd's business, not a reason to stop working
