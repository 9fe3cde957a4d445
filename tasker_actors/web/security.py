"""Who may talk to the port: loopback by default, a key elsewhere (SPEC 8)."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable

from tasker_actors.errors import ConfigurationError

Headers = Iterable[tuple[bytes, bytes]]


def check_bind(host: str, api_key: str | None) -> None:
    """Raise ConfigurationError if other machines could reach this address and no API key protects it.

    A host name other than `localhost` counts as reachable.
    """
    if api_key is None and not is_loopback(host):
        msg = (
            f"http.bind: {host} can be reached from other machines: "
            "set TASKER_API_KEY to the key that clients must send, or bind to 127.0.0.1"
        )
        raise ConfigurationError(msg)


def is_loopback(host: str) -> bool:
    """Return whether an address or name means this machine and no other can use it; brackets of IPv6 are allowed."""
    name = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name.lower().rstrip(".") == "localhost"


def is_open(path: str) -> bool:
    """Return whether anybody may ask for this path: probes and scrapers have no key."""
    return path in ("/metrics", "/health") or path.startswith("/health/")


def has_key(headers: Headers, api_key: str) -> bool:
    """Return whether a request carries the key, as `Authorization: Bearer` or `X-API-Key`.

    How long this takes says nothing about the key. `headers` have lower-case names, as ASGI gives them.
    """
    expected = api_key.encode()
    found = False
    for name, value in headers:
        if name == b"authorization":
            scheme, _, credentials = value.strip().partition(b" ")
            given = credentials.strip() if scheme.lower() == b"bearer" else b""
        elif name == b"x-api-key":
            given = value.strip()
        else:
            continue
        found |= hmac.compare_digest(given, expected)
    return found


def is_own_host(headers: Headers) -> bool:
    """Return whether a request without a key was addressed to this machine by a loopback address or `localhost`.

    A page in a browser on this machine can make its own name point to 127.0.0.1 and would then be let in (DNS
    rebinding), but its requests carry that name. HTTP/1.0 clients send none.
    """
    hosts = [value for name, value in headers if name == b"host"]
    return all(is_loopback(_without_port(host.decode("latin-1").strip())) for host in hosts)


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() and (name.endswith("]") or ":" not in name) else host
