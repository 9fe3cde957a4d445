"""A network that misbehaves, between clients and a PostgreSQL server: it cuts, delays, and falls silent."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path

_CHUNK = 65536
_CUT_CHECK_S = 0.2


class _Connection:
    """One client's way to the server: two threads, one for each direction."""

    def __init__(self, client: socket.socket, server: socket.socket, proxy: UnrulyProxy) -> None:
        self.flows = threading.Event()
        self.flows.set()
        self._sockets = (client, server)
        self._proxy = proxy
        self._is_cut = threading.Event()
        self.threads = [
            threading.Thread(target=self._carry, args=pair, daemon=True)
            for pair in ((client, server), (server, client))
        ]
        for thread in self.threads:
            thread.start()

    @property
    def is_cut(self) -> bool:
        return self._is_cut.is_set()

    def cut(self) -> None:
        """End both directions at once; what was under way is lost."""
        self._is_cut.set()
        self.flows.set()
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the sockets back once nobody reads from them any more."""
        for thread in self.threads:
            thread.join()
        for each in self._sockets:
            each.close()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                if self._proxy.delay_s:
                    self._is_cut.wait(self._proxy.delay_s)
                while not self.flows.wait(_CUT_CHECK_S):
                    pass
                if self.is_cut:
                    break
                target.sendall(data)
        self.cut()


class UnrulyProxy:
    """Listens on loopback, at one port for all its life, and carries what it gets to the server's Unix socket.

    `delay_s` holds back every chunk in each direction; 0 is a good network. Methods may be called from any thread.
    """

    def __init__(self, server_socket: Path) -> None:
        self.delay_s = 0.0
        self._server_socket = str(server_socket)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._connections: list[_Connection] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def connections(self) -> list[_Connection]:
        """Those that are open, the oldest first."""
        with self._lock:
            ended = [each for each in self._connections if each.is_cut]
            self._connections = [each for each in self._connections if not each.is_cut]
            found = list(self._connections)
        for each in ended:
            each.close()
        return found

    def cut_all(self) -> int:
        """Cut every connection; returns how many there were."""
        found = self.connections
        for each in found:
            each.cut()
        return len(found)

    def cut_one(self, choice: float) -> int:
        """Cut the connection at this part of the list, 0 to 1; returns how many were cut."""
        chosen = self._chosen(choice)
        if chosen is None:
            return 0
        chosen.cut()
        return 1

    def silence(self, choice: float | None) -> list[_Connection]:
        """Let one connection, or all, carry nothing any more while it stays open; they are returned for `speak`."""
        chosen = self._chosen(choice) if choice is not None else None
        found = self.connections if choice is None else [] if chosen is None else [chosen]
        for each in found:
            each.flows.clear()
        return found

    def speak(self, connections: list[_Connection]) -> None:
        """Let silent connections carry again, beginning with what was held back."""
        for each in connections:
            each.flows.set()

    def close(self) -> None:
        """Cut everything and accept nothing more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        self.cut_all()
        for each in self._connections:
            each.close()

    def _chosen(self, choice: float) -> _Connection | None:
        found = self.connections
        return found[int(choice * len(found))] if found else None

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                try:
                    server.connect(self._server_socket)
                except OSError:
                    # The server is away: the client is told as the kernel would, by a connection that is closed.
                    client.close()
                    server.close()
                    continue
                with self._lock:
                    self._connections.append(_Connection(client, server, self))
