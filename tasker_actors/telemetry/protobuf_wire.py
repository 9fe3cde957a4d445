"""The little of protobuf's wire format that requests are put together with (protobuf.dev, "Encoding").

A field is a tag, which is its number and a wire type, and a value. Messages that are written one after the other are
one message with the fields of both.
"""

from __future__ import annotations

from typing import Final

LENGTH_DELIMITED: Final = 2
FIXED_64: Final = 1
FIXED_32: Final = 5
VARINT: Final = 0

_ONE_BYTE: Final = tuple(bytes((number,)) for number in range(0x80))


def field(number: int, body: bytes) -> bytes:
    """Encode a field that holds a message, a text or bytes."""
    return tag(number, LENGTH_DELIMITED) + varint(len(body)) + body


def tag(number: int, wire_type: int) -> bytes:
    """Encode what stands before a field's value."""
    return varint(number << 3 | wire_type)


def varint(value: int) -> bytes:
    """Encode a number that is not negative: seven bits in each byte, the lowest first."""
    if value < 0x80:  # noqa: PLR2004 - fits into seven bits
        return _ONE_BYTE[value]
    encoded = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - as above
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
