"""PostgreSQL URLs as text: recognised, and shown without their secrets. Nothing is connected here."""

from __future__ import annotations

import re

_SCHEMES = ("postgresql://", "postgres://")
_SECRET_KEYS = r"(?:password|sslpassword|scram_client_key|scram_server_key|oauth_client_secret)"  # noqa: S105  names, not values
_SECRET_PARAMETER = re.compile(rf"([?&]{_SECRET_KEYS}=)[^&]*", re.IGNORECASE)
# A quoted value may lack its closing quote: a text that libpq refuses is shown too, in the error about it.
_SECRET_PAIR = re.compile(rf"\b({_SECRET_KEYS}\s*=\s*)(?:'(?:[^'\\]|\\.)*(?:'|$)|(?:\\.|[^\s\\])*)", re.IGNORECASE)
_PAIRS = re.compile(r"\s*\w+\s*=")

MASK = "***"
_MASKED = rf"\g<1>{MASK}"


def is_database_url(text: str) -> bool:
    """Return whether the text has one of libpq's two forms; says nothing of what is in it."""
    return text.startswith(_SCHEMES) or _PAIRS.match(text) is not None


def redact_url(url: str) -> str:
    """Return the URL or the `key=value` pairs with every secret replaced by `***`, fit for logs and errors.

    A text that libpq would refuse is redacted too, rather too much than too little: a password with a raw `@` or `/`
    in it is the usual reason for the refusal.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or not re.fullmatch(r"\w+(\+\w+)?", scheme):
        return _SECRET_PAIR.sub(_MASKED, url)
    end = re.search(r"[/?#]", rest)
    authority, tail = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
    path, mark, query = tail.partition("?")
    if "@" in path or ("@" in query and ":" in authority):
        # What looks like a path is the rest of a password with a slash, a question mark or an @ in it.
        return f"{scheme}://{rest.partition(':')[0]}:{MASK}@" + _SECRET_PARAMETER.sub(_MASKED, rest.rpartition("@")[2])
    if "@" in authority:
        credentials, _, hosts = authority.rpartition("@")
        user, colon, _password = credentials.partition(":")
        authority = f"{user}{colon}{MASK if colon else ''}@{hosts}"
    return f"{scheme}://{authority}{path}" + _SECRET_PARAMETER.sub(_MASKED, mark + query)
