"""Hashes that name things by what they are made of."""

from __future__ import annotations

import hashlib
import json
from typing import Any

ID_LENGTH = 16
"""Hex digits of an identifier: 64 bits, enough for the millions of runs that a store can hold."""


def canonical_json(value: Any) -> str:
    """`value` as JSON with sorted keys and no white space, so that equal values give equal text.

    Raises:
        ValueError: on NaN or infinity, which have no JSON form.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def identifier(*parts: Any) -> str:
    """A short hash of JSON-representable parts; different parts give different identifiers.

    >>> identifier("a", 1) == identifier("a", 1), identifier("a", 1) == identifier("a1")
    (True, False)
    """
    return hashlib.sha256(canonical_json(list(parts)).encode()).hexdigest()[:ID_LENGTH]


def part_of(purpose: str, key: str, parts: int) -> int:
    """The part, 0 to parts - 1, that a sample falls into for a purpose: it depends on its key alone."""
    return int.from_bytes(hashlib.sha256(f"{purpose}:{key}".encode()).digest()[:8], "big") % parts


def content_hash(data: bytes) -> str:
    """A short hash of an image file's bytes, to notice that it changed."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def checksum(data: bytes) -> str:
    """The hash of a stored file's bytes, to notice that it was damaged: BLAKE2b of 128 bits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()
