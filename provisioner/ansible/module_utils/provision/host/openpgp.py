# SPDX-License-Identifier: Apache-2.0
"""Read the fingerprints of OpenPGP public keys without a program for it.

Source: RFC 9580, sections 4.2 (packet headers), 5.5.4.2 (a version 4 fingerprint is the SHA-1 of 0x99, two
bytes of length and the packet's body) and 6.2 (armour).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Iterator

from .fault import Fault

PUBLIC_KEY = 6
ARMOUR = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(.*?)-----END PGP PUBLIC KEY BLOCK-----", re.DOTALL
)


class KeyFault(Fault):
    """Report why something is not an OpenPGP public key."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "compare the key with the one that its owner publishes")


def fingerprints(content: bytes) -> list[str]:
    """Return the fingerprint of each primary key, in capitals; raises KeyFault."""
    blocks = _blocks(content)
    found = [_fingerprint(body) for block in blocks for tag, body in _packets(block) if tag == PUBLIC_KEY]
    if not found:
        raise KeyFault("it contains no OpenPGP public key")
    return found


def armoured(content: bytes) -> str:
    """Return the keys that `fingerprints` has read, and nothing else, as a package manager reads them."""
    content = b"".join(_blocks(content))
    lines = re.findall(".{1,64}", base64.b64encode(content).decode())
    crc = base64.b64encode(_crc24(content).to_bytes(3, "big")).decode()
    body = "\n".join([*lines, f"={crc}"])
    return f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{body}\n-----END PGP PUBLIC KEY BLOCK-----\n"


def _blocks(content: bytes) -> list[bytes]:
    return [_unarmoured(block) for block in ARMOUR.findall(content)] or [content]


def normal(fingerprint: str) -> str:
    """Return a fingerprint as this module writes it, whatever blanks, colons or case a person used."""
    return re.sub(r"^0[xX]|[\s:]", "", fingerprint).upper()


def _unarmoured(block: bytes) -> bytes:
    """Return the bytes of an armoured block: headers end at an empty line, a checksum follows the data."""
    lines = [line.strip() for line in block.splitlines()]
    data = lines[lines.index(b"") + 1 :] if b"" in lines else lines
    try:
        return base64.b64decode(b"".join(line for line in data if not line.startswith(b"=")), validate=True)
    except binascii.Error as error:
        raise KeyFault(f"its armour is damaged: {error}") from error


def _packets(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and body of each packet; raises KeyFault where there is no packet."""
    while content:
        if not content[0] & 0x80:
            raise KeyFault("it is not OpenPGP data")
        tag, size, length = _new_header(content) if content[0] & 0x40 else _old_header(content)
        if size + length > len(content):
            raise KeyFault("it is truncated")
        yield tag, content[size : size + length]
        content = content[size + length :]


def _old_header(content: bytes) -> tuple[int, int, int]:
    """Return the tag of a packet, the size of its header and that of its body; so does `_new_header`."""
    size = 1 << (content[0] & 3)
    if size == 8:
        raise KeyFault("it contains a packet of unknown length")
    return (content[0] >> 2) & 15, 1 + size, int.from_bytes(content[1 : 1 + size], "big")


def _new_header(content: bytes) -> tuple[int, int, int]:
    tag, first = content[0] & 63, int.from_bytes(content[1:2], "big")
    if first < 192:
        return tag, 2, first
    if first < 224:
        return tag, 3, ((first - 192) << 8) + int.from_bytes(content[2:3], "big") + 192
    if first == 255:
        return tag, 6, int.from_bytes(content[2:6], "big")
    raise KeyFault("it contains a partial-length packet, which keys must not")


def _fingerprint(body: bytes) -> str:
    if not body or body[0] != 4:
        raise KeyFault(f"it contains a key of version {body[0] if body else 'none'}; version 4 is required")
    # The algorithm is part of the definition, not a choice.
    digest = hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body)  # noqa: S324 - see above
    return digest.hexdigest().upper()


def _crc24(content: bytes) -> int:
    crc = 0xB704CE
    for byte in content:
        crc ^= byte << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1864CFB
    return crc & 0xFFFFFF
