"""Ids are derived from causes, so that the same input gives the same ids on any machine."""

from __future__ import annotations

from functools import cache
from typing import Any


def derive_id(kind: str, *parts: object) -> str:
    """Return 24 characters that depend only on `kind` and `parts`.

    They are 96 bits of BLAKE2b in hexadecimal; the first 20, a broker's order tag, still hold 80 bits.
    """
    hashed = _hash_of_kind(kind).copy()
    cause = parts[0] if len(parts) == 1 else "\0".join(map(str, parts))
    hashed.update(str(cause).encode())
    digest: str = hashed.hexdigest()
    return digest


@cache
def _hash_of_kind(kind: str) -> Any:
    """Return the hash of the prefix that all ids of a kind share."""
    from hashlib import blake2b  # its library takes milliseconds to load, so only with the first id

    return blake2b(f"alpha1\0{kind}\0".encode(), digest_size=12)
