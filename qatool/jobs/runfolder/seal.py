"""Small JSON files that tell when they are not as they were written."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def sealed(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``body`` with a hash of itself under ``seal``."""
    return {"seal": blake2b(_canonical(body)), **body}


def unsealed(value: Any) -> dict[str, Any]:
    """Return what was sealed.

    :raises ValueError: it is not as it was sealed
    :raises KeyError: it never was
    """
    body = {name: part for name, part in value.items() if name != "seal"} if isinstance(value, dict) else {}
    if not body or value["seal"] != blake2b(_canonical(body)):
        raise ValueError("the seal is broken")
    return body


def blake2b(data: bytes) -> str:
    """Return the 16-byte BLAKE2b digest in hex."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _canonical(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True).encode()
