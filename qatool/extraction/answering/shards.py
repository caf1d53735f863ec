"""Cut the stream of examples into shards: each is a unit of work, becomes one part, and is where a run can resume."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from qatool.schema import Example, fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_ALIKE = 4
"""How many shards in a row have one size, where shards grow."""


@dataclass(frozen=True, kw_only=True)
class ShardLimits:
    """The limits at which a shard ends: rows, or bytes of context and kept text, whichever is reached first."""

    rows: int
    context_bytes: int
    first_rows: int | None = None
    """Rows of each of the first few shards; the next few have twice as many, and so on up to ``rows``. ``None``: all
    have ``rows``. Small first shards give the model something to read soon while others are being prepared."""
    each_row_counts: bool = True
    """Whether, among consecutive rows with one context, each counts the bytes of that context. They should where the
    model reads the whole context for each row, and not where it reads only a few windows: then it matters more that a
    long document is tokenised only once for many questions."""

    def rows_of(self, index: int) -> int:
        """Return the most rows that shard number ``index`` can have."""
        if self.first_rows is None:
            return self.rows
        return min(self.rows, self.first_rows << min(index // _ALIKE, self.rows.bit_length()))


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Consecutive examples of the input."""

    index: int
    first_row: int
    """Position of the first example in the whole input."""
    examples: Sequence[Example]
    columns_signature: str = ""
    """The signature of the columns of its part; see :attr:`AnswerColumns.signature`."""

    @cached_property
    def fingerprints(self) -> Sequence[bytes | None]:
        """The fingerprint of each example, ``None`` for rejected ones; computed at first use."""
        return [None if e.error else fingerprint(e.question or "", e.context or "") for e in self.examples]

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the examples as columns: quicker than rows, and kept values are views that cannot be pickled."""
        columns = dict(zip(Example._fields, zip(*self.examples, strict=True), strict=True))
        columns["kept"] = tuple(dict(kept) for kept in columns["kept"]) if any(columns["kept"]) else None
        return self.__dict__ | {"examples": columns}

    def __setstate__(self, state: dict[str, Any]) -> None:
        columns = state["examples"]
        if columns["kept"] is None:
            columns["kept"] = (Example._field_defaults["kept"],) * len(columns["id"])
        self.__dict__.update(state, examples=tuple(map(Example._make, zip(*columns.values(), strict=True))))

    @property
    def content_hash(self) -> str:
        """The BLAKE2b hash (hex) of everything in the shard that its part depends on."""
        digest = hashlib.blake2b(self.columns_signature.encode(), digest_size=16)
        for example, mark in zip(self.examples, self.fingerprints, strict=True):
            head = (example.id, example.document_id, example.question_id, example.error, dict(example.kept))
            digest.update(repr(head).encode("utf-8", "backslashreplace"))
            if example.error is not None:
                # The list of rejected rows gives their positions in the whole input.
                digest.update(repr(self.first_row).encode())
            digest.update(mark or repr(example.question).encode("utf-8", "backslashreplace"))
        return digest.hexdigest()


def cut_shards(examples: Iterable[Example], limits: ShardLimits, *, columns_signature: str = "") -> Iterator[Shard]:
    """Cut ``examples`` into shards; an example larger than the limit becomes a shard of its own.

    :param columns_signature: see :attr:`AnswerColumns.signature`
    """
    held: list[Example] = []
    size = index = first_row = 0

    def shard() -> Shard:
        return Shard(index=index, first_row=first_row, examples=tuple(held), columns_signature=columns_signature)

    own = 0
    for example in examples:
        is_same = bool(held) and example.context == held[-1].context
        if not is_same:
            own = len((example.context or "").encode("utf-8", "replace"))
        is_shared = is_same and not limits.each_row_counts
        kept = 0
        if example.kept:
            kept = sum(len(value) for value in example.kept.values() if isinstance(value, str | bytes))
        more = kept if is_shared else own + kept
        is_too_large = (kept or not is_shared) and size + more > limits.context_bytes
        if held and (is_too_large or len(held) == limits.rows_of(index)):
            yield shard()
            index, first_row, size = index + 1, first_row + len(held), 0
            held.clear()
            more = own + kept
        held.append(example)
        size += more
    if held:
        yield shard()
