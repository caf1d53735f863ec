"""The public formats: examples, fingerprints, and the columns of answers."""

from __future__ import annotations

import hashlib
import struct
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa


class Example(NamedTuple):
    """One question asked of one context, as read.

    An example from a bad row is rejected, but keeps its place and whatever could be read; other texts are ``None``.
    """

    id: str | None
    question: str | None
    context: str | None
    where: str
    """Source and row for messages: ``corpus.jsonl:12`` or ``corpus.parquet row 11``."""
    document_id: str | None = None
    question_id: str | None = None
    kept: Mapping[str, Any] = MappingProxyType({})
    """Values of the ``--keep`` columns."""
    error: str | None = None
    """Why the example was rejected; ``None`` if it was not."""

    @property
    def is_odd(self) -> bool:
        """Whether the question or the context is blank; such an example gets "no answer" without being read."""
        return not (self.question or "").strip() or not (self.context or "").strip()


def fingerprint(question: str, context: str) -> bytes:
    """Return the 16-byte BLAKE2b digest of question and context.

    Each text is hashed as UTF-8, after its length in bytes (uint64, little endian).
    """
    digest = hashlib.blake2b(digest_size=16)
    for text in (question, context):
        data = text.encode()
        digest.update(struct.pack("<Q", len(data)))
        digest.update(data)
    return digest.digest()


def candidate_type() -> pa.DataType:
    """Return the Arrow type of one entry of the ``candidates`` column."""
    import pyarrow as pa

    return pa.struct(
        [
            ("answer", pa.string()),
            ("answer_start", pa.int64()),
            ("answer_end", pa.int64()),
            ("score", pa.float32()),
            ("span_logit", pa.float32()),
            ("null_logit", pa.float32()),
            ("window", pa.int32()),
        ]
    )


def answers_schema(*, documents: bool, snippet: bool, kept: list[pa.Field] | None = None) -> pa.Schema:
    """Return the Arrow schema of an answers table.

    :param documents: whether there are the columns ``document_id`` and ``question_id``
    :param snippet: whether there is the column ``snippet``
    :param kept: fields of the ``--keep`` columns, which come last
    """
    import pyarrow as pa

    text = pa.string()
    fields = [pa.field("id", text), pa.field("question", text)]
    if documents:
        fields += [pa.field("document_id", text), pa.field("question_id", text)]
    fields += [
        pa.field("answer", text),
        pa.field("answer_start", pa.int64()),
        pa.field("answer_end", pa.int64()),
        pa.field("score", pa.float32()),
        pa.field("no_answer_score", pa.float32()),
        pa.field("window", pa.int32()),
        pa.field("n_windows", pa.int32()),
        pa.field("n_windows_read", pa.int32()),
        pa.field("candidates", pa.list_(candidate_type())),
        pa.field("fingerprint", pa.binary(16)),
        pa.field("error", text),
    ]
    if snippet:
        fields.append(pa.field("snippet", text))
    return pa.schema(fields + (kept or []))
