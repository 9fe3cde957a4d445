"""The HTTP server: one listening socket and one thread with an event loop."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence

import uvicorn
from fastapi import APIRouter

from tasker_actors.errors import StartupError
from tasker_actors.web.app import create_app
from tasker_actors.web.connection import Connections
from tasker_actors.web.runtime import Runtime

_BACKLOG = 2_048
_START_TIMEOUT_S = 10.0
_FORCED_STOP_S = 1.0
# Uvicorn looks every 0.1 s whether it shall stop, and pauses as long before it waits for requests.
_STOP_OVERHEAD_S = 0.3
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  addresses to compare with, not to bind to


class HttpServer:
    """Serves the API of one supervisor. `bind`, `start` and `stop` are called once each, in this order.

    All three are for the thread that owns the supervisor's life. Between `bind` and `start` clients can connect, and
    wait for their answer.
    """

    def __init__(self, runtime: Runtime, host: str, port: int, more_routes: Sequence[APIRouter] = ()) -> None:
        self._runtime = runtime
        self._host = host
        self._port = port
        self._more_routes = more_routes
        self._socket: socket.socket | None = None
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where a client on this machine finds the port, once it is bound."""
        host, port = (self._host, self._port) if self._socket is None else self._socket.getsockname()[:2]
        host = _WILDCARDS.get(host, host)
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def is_serving(self) -> bool:
        """Whether the server's thread runs; once started it ends only through `stop` or a fault of its own."""
        return self._thread is not None and self._thread.is_alive()

    def bind(self) -> None:
        """Open the listening socket, so that a port in use is known before anything else starts.

        Raises StartupError naming host and port.
        """
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            family, kind, protocol, _, address = found[0]
            listening = socket.socket(family, kind, protocol)
            try:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listening.bind(address)
                # Listening decides who has the port: two sockets can be bound to it, but only one can listen.
                listening.listen(_BACKLOG)
            except BaseException:
                listening.close()
                raise
        except OSError as error:
            reason = error.strerror or error
            msg = f"cannot listen on {self._host}:{self._port}: {reason}; choose another address with --bind"
            raise StartupError(msg) from error
        self._socket = listening

    def start(self) -> None:
        """Serve in a thread of its own; returns when requests are answered. Raises StartupError if that fails."""
        if self._socket is None:
            msg = "bind comes before start"
            raise ValueError(msg)
        limits = self._runtime.settings.http
        config = uvicorn.Config(
            create_app(self._runtime, self._more_routes),
            http=Connections(limits, self._runtime.refused).protocol(),
            h11_max_incomplete_event_size=limits.max_header_bytes,
            # The process has its own logging, and its own word on every request.
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="on",
            ws="none",
            backlog=_BACKLOG,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="http", daemon=True
        )
        self._thread.start()
        if not self._server.wait_started(self._thread, time.monotonic() + _START_TIMEOUT_S):
            self._server.should_exit = True
            msg = f"the HTTP server on {self._host}:{self._port} did not start; the log says why"
            raise StartupError(msg)

    def stop(self, deadline: float) -> None:
        """Stop listening, let requests finish until the deadline (of `time.monotonic`), then cut them off.

        Blocks for at most a second longer. Does nothing where nothing runs.
        """
        if self._server is None or self._thread is None:
            if self._socket is not None:
                self._socket.close()
            return
        patience = max(0.0, deadline - time.monotonic() - _STOP_OVERHEAD_S)
        self._server.config.timeout_graceful_shutdown = patience  # type: ignore[assignment]  # asyncio.wait_for gets it
        self._server.should_exit = True
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            self._server.force_exit = True
            self._thread.join(_FORCED_STOP_S)


class _Server(uvicorn.Server):
    """Uvicorn, which says when it is ready. In a thread other than the main one it installs no signal handlers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to serve."""
        await super().startup(sockets)
        self._ready.set()

    def wait_started(self, thread: threading.Thread, deadline: float) -> bool:
        """Block until it serves; False if its thread ended, or the deadline passed."""
        while not self._ready.wait(0.05):
            if not thread.is_alive() or time.monotonic() > deadline:
                return False
        return self.started and not self.should_exit
