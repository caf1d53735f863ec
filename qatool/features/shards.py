"""Cut the stream of labelled examples into shards, each of which becomes one file of features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from qatool.schema import Example

SHARD_ROWS = 2048
SHARD_CHARACTERS = 4_000_000
"""Most characters of the contexts of all examples of a shard, to bound the memory of a worker."""


@dataclass(frozen=True)
class Shard:
    """Consecutive examples of the input."""

    index: int
    first_row: int
    """Position of the first example in the whole input."""
    examples: list[Example]


def cut_shards(
    examples: Iterable[Example], *, rows: int = SHARD_ROWS, characters: int = SHARD_CHARACTERS
) -> Iterator[Shard]:
    """Yield ``examples`` in shards, the same shards for the same input; a larger example has a shard of its own."""
    held: list[Example] = []
    contexts: dict[str, str] = {}
    size = index = first_row = 0
    for example in examples:
        own = len(example.context or "")
        if held and (len(held) == rows or size + own > characters):
            yield Shard(index, first_row, held)
            index, first_row, size, held = index + 1, first_row + len(held), 0, []
            contexts.clear()
        if example.context is not None:
            # Equal contexts share one string, which is then sent to the worker only once.
            context = contexts.setdefault(example.context, example.context)
            if context is not example.context:
                example = example._replace(context=context)  # noqa: PLW2901
        held.append(example)
        size += own
    if held:
        yield Shard(index, first_row, held)
