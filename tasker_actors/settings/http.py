"""The settings of the one HTTP port."""

from __future__ import annotations

import ipaddress

from pydantic import Field, field_validator

from tasker_actors.settings.section import Section
from tasker_actors.settings.values import MIB, Bytes, Count, Depth, Milliseconds, is_bind_address


class HttpSettings(Section):
    """The one HTTP port."""

    bind: str = Field(
        default="127.0.0.1:8081", description="HOST:PORT to listen on; port 0 takes a free one, IPv6 as `[::1]:8081`."
    )
    max_body_bytes: Bytes = Field(default=2 * MIB, description="Larger request bodies are refused with 413.")
    max_header_bytes: Bytes = Field(
        default=16 * 1024, description="Larger request lines and headers, together, are refused with 431."
    )
    max_json_depth: Depth = Field(default=100, description="Bodies that are nested deeper are refused with 400.")
    max_connections: Count = Field(
        default=512,
        description="Connections at once; one more takes the place of the longest idle one, or is refused with 503.",
    )
    max_active_requests: Count = Field(
        default=64, description="Requests that are read and answered at once; others wait, their bodies unread."
    )
    max_waiting_requests: Count = Field(
        default=400, description="Requests that may wait for that; more are refused with 503."
    )
    header_timeout_ms: Milliseconds = Field(
        default=10_000, description="Time for a request's line and headers to arrive; then 408, and the end."
    )
    body_timeout_ms: Milliseconds = Field(default=30_000, description="Time for a request's body to arrive; then 408.")
    answer_timeout_ms: Milliseconds = Field(
        default=30_000, description="A client that takes less than 16 KiB of its answer in this time is cut off."
    )
    keep_alive_timeout_ms: Milliseconds = Field(
        default=75_000,
        description="A connection is kept this long after an answer: longer than proxies and clients keep theirs.",
    )
    api_key: str | None = Field(
        default=None,
        repr=False,
        min_length=1,
        description="Key that clients must send (also `TASKER_HTTP__API_KEY`); needed to bind beyond loopback.",
    )

    @field_validator("bind")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        if not is_bind_address(value):
            msg = "must be HOST:PORT with a port from 0 to 65535"
            raise ValueError(msg)
        return value

    @property
    def host(self) -> str:
        """The host part of `bind`, an IPv6 address without its brackets."""
        return self.bind.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port part of `bind`; 0 asks for a free one."""
        return int(self.bind.rpartition(":")[2])

    @property
    def is_loopback(self) -> bool:
        """True if only this machine can connect; a host name other than `localhost` counts as exposed."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"
