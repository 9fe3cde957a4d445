"""A proxy before a PostgreSQL server that cuts connections at chosen moments."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from psycopg.conninfo import conninfo_to_dict, make_conninfo
from support.leases import MIB

_READY = b"Z\x00\x00\x00\x05I"
"""ReadyForQuery outside of a transaction: what was sent before is committed."""


class CuttingProxy:
    """Stands between a worker and the server, and cuts the connection that carries a certain statement, once.

    `cut(needle, when)`: `request` cuts before the statement reaches the server, `running` when it has been sent there,
    `reply` after the server said that it is ready again and before the worker hears of it, `row` when the worker has
    got the reply's first bytes. `cuts` counts them.
    """

    def __init__(self, url: str) -> None:
        self._target = conninfo_to_dict(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._needle = b""
        self._when = ""
        self._then: Callable[[bytes], None] = lambda _request: None
        self.cuts = 0
        self._open: set[socket.socket] = set()
        port = self._listener.getsockname()[1]
        self.url = make_conninfo(url, host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable")
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def cut(self, needle: bytes, when: str, then: Callable[[bytes], None] = lambda _request: None) -> None:
        """Cut the next connection that carries these bytes; `then` is called with the request at that moment."""
        self._when, self._then, self._needle = when, then, needle

    def close(self) -> None:
        """Cut everything and accept nothing more."""
        for each in (self._listener, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with self._listener, suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(f"{self._target['host']}/.s.PGSQL.{self._target.get('port', 5432)}")
                self._threads.append(threading.Thread(target=self._carry, args=(client, server)))
                self._threads[-1].start()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        self._open |= {client, server}
        with client, server, suppress(OSError):
            while True:
                for readable in select.select([client, server], [], [])[0]:
                    data = readable.recv(MIB)
                    if not data:
                        return
                    if readable is server:
                        client.sendall(data)
                    elif self._needle and self._needle in data:
                        self._needle = b""
                        self._lose(client, server, data)
                        return
                    else:
                        server.sendall(data)

    def _lose(self, client: socket.socket, server: socket.socket, request: bytes) -> None:
        if self._when != "request":
            server.sendall(request)
        if self._when in ("reply", "row"):
            reply = b""
            while not reply.endswith(_READY) and (data := server.recv(MIB)):
                reply += data
            if self._when == "row":
                client.sendall(reply[: len(reply) // 2])
        self._then(request)
        self.cuts += 1
