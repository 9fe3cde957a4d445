"""Takes passwords out of text that is going to be logged or shown (SPEC 4.4)."""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "***"

# The part before the last @ of the authority: a password may contain @, ? and #, not a slash (libpq reads it so too).
_URL_PASSWORD: Final = re.compile(r"(?<=://)([^\s/:@]*):[^\s/]*@")
# A connection string's `password=secret`, also quoted, and the same as a URL's query parameter; libpq has more of them.
_SECRET_NAMES: Final = r"(?:ssl)?password|scram_(?:client|server)_key|oauth_client_secret"  # noqa: S105  names, not values
_SECRET_PARAMETER: Final = re.compile(rf"(?i)\b((?:{_SECRET_NAMES})\s*=\s*)(?:'(?:[^'\\]|\\.)*'?|[^\s&'\"]+)")


def redact(text: str) -> str:
    """The text with the password of every URL and connection string in it masked."""
    if "://" in text:
        text = _URL_PASSWORD.sub(rf"\1:{MASK}@", text)
    if "=" in text:
        text = _SECRET_PARAMETER.sub(rf"\1{MASK}", text)
    return text
