"""Seals for small JSON files, which show whether a file is damaged."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import DataclassInstance

D = TypeVar("D", bound="DataclassInstance")


def sealed(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``body`` with its own hash added under ``seal``."""
    return {"seal": blake2b(_canonical(body)), **body}


def unsealed(value: Any) -> dict[str, Any]:
    """Return the body of a sealed value.

    :raises ValueError: the value is not as it was sealed, or is no object with a body
    :raises KeyError: the value has no seal
    """
    body = {name: part for name, part in value.items() if name != "seal"} if isinstance(value, dict) else {}
    if not body or value["seal"] != blake2b(_canonical(body)):
        raise ValueError("the seal is broken")
    return body


def unsealed_as(kind: type[D], value: Any) -> D:
    """Return the body of a sealed value as a dataclass; names that this lacks, as of another version, are ignored.

    :raises ValueError: see :func:`unsealed`
    :raises KeyError: see :func:`unsealed`
    :raises TypeError: the body lacks something that has no default
    """
    body = unsealed(value)
    return kind(**{one.name: body[one.name] for one in fields(kind) if one.name in body})


def blake2b(data: bytes) -> str:
    """Return the 16-byte BLAKE2b digest of ``data`` in hex."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _canonical(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True).encode()
