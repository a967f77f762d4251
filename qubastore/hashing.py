"""Hashes: content-addressed identifiers, and checksums of files."""

from __future__ import annotations

import hashlib
import json
from typing import Any

ID_LENGTH = 16
"""Hex digits of an identifier: 64 bits, enough for the millions of runs that a store can hold."""


def canonical_json(value: Any) -> str:
    """`value` as JSON with sorted keys and no white space, so that equal values give equal text.

    Raises:
        ValueError: On NaN or infinity, which JSON cannot represent.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def identifier(*parts: Any) -> str:
    """A short hash of JSON-representable parts; different parts give different identifiers.

    >>> identifier("a", 1) == identifier("a", 1), identifier("a", 1) == identifier("a1")
    (True, False)
    """
    return hashlib.sha256(canonical_json(list(parts)).encode()).hexdigest()[:ID_LENGTH]


def part_of(purpose: str, key: str, parts: int) -> int:
    """The part, 0 to parts - 1, to which a sample is assigned for a purpose; it depends only on the sample's key."""
    return int.from_bytes(hashlib.sha256(f"{purpose}:{key}".encode()).digest()[:8], "big") % parts


def content_hash(data: bytes) -> str:
    """A short hash of an image file's bytes, to detect changes."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def checksum(data: bytes) -> str:
    """The 128-bit BLAKE2b hash of a stored file's bytes, to detect damage."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()
