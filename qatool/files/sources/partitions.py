"""Hive partitions: folders named ``year=2024`` give every file below them a column ``year``."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Collection

NULL = "__HIVE_DEFAULT_PARTITION__"
"""Value in the name of a folder whose rows have null in the partition column; Hive's convention."""
_FOLDER = re.compile(r"([^=]+)=(.*)", re.DOTALL)
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")


class Partition(NamedTuple):
    """A column named by a folder (``year=2024``), with its value for all files below that folder."""

    name: str
    value: str | int | None
    is_integer: bool = False


Partitions: TypeAlias = tuple[Partition, ...]


@lru_cache(maxsize=1 << 16)
def partitions_of(folder: str) -> Partitions:
    """Return the partitions in the path of a folder, outermost first; every value is still text."""
    found = (_FOLDER.fullmatch(part) for part in folder.split("/"))
    named = {unquote(one[1]): None if one[2] == NULL else unquote(one[2]) for one in found if one is not None}
    return tuple(Partition(name, value) for name, value in named.items())


def typed(found: Collection[Partitions]) -> dict[Partitions, Partitions]:
    """Return a mapping from each set of partitions to the same set with integer columns converted.

    A column becomes integer if all its values, over all files, are integers or null. ``01`` counts as text, because
    the leading zero would be lost.
    """
    values: defaultdict[str, set[str | int | None]] = defaultdict(set)
    for partitions in found:
        for partition in partitions:
            values[partition.name].add(partition.value)
    integers = {name for name, ones in values.items() if ones != {None} and all(map(_is_integer, ones))}
    return {
        partitions: tuple(_as_integer(one) if one.name in integers else one for one in partitions)
        for partitions in found
    }


def _is_integer(value: str | int | None) -> bool:
    return value is None or _INTEGER.fullmatch(str(value)) is not None


def _as_integer(partition: Partition) -> Partition:
    return Partition(partition.name, None if partition.value is None else int(partition.value), is_integer=True)
