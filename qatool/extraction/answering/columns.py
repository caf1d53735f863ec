"""Decide which columns a part has, and put them together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from qatool.extraction.answering.answers import snippets
from qatool.files.values.kept import kept_array
from qatool.jobs.work import Part
from qatool.schema import answers_schema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qatool.extraction.answering.shards import Shard

_OF_THE_EXAMPLE = ("id", "question", "document_id", "question_id")


@dataclass(frozen=True, kw_only=True)
class AnswerColumns:
    """The options that decide which columns a part has, whatever its rows."""

    documents: bool
    """Whether there are columns ``document_id`` and ``question_id``."""
    snippet: int | None
    """Characters of context on either side of the answer in the column ``snippet``; ``None``: no such column."""
    kept: Mapping[str, pa.DataType | None]
    """The ``--keep`` columns and their declared types, ``None`` where unknown."""

    @property
    def signature(self) -> str:
        """A text that differs whenever the columns of a part differ."""
        return repr((list(self.kept), self.snippet, self.documents))

    @property
    def answers(self) -> list[str]:
        """The names of the columns that the model fills in."""
        return [name for name in answers_schema(documents=False, snippet=False).names if name not in _OTHERS]

    def empty_schema(self) -> pa.Schema:
        """Return the schema of an output without rows; kept columns of unknown type become strings."""
        return self._schema([pa.field(name, declared or pa.string()) for name, declared in self.kept.items()])

    def table(self, shard: Shard, answers: pa.Table, errors: Sequence[str | None]) -> pa.Table:
        """Return the table of a part, its columns in the order of the schema.

        :param answers: the columns :attr:`answers`, one row for each example
        :param errors: why each example was rejected, ``None`` for those that were not
        """
        columns = {name: answers[name] for name in answers.column_names}
        for name in _OF_THE_EXAMPLE:
            columns[name] = pa.array([getattr(example, name) for example in shard.examples], pa.string())
        columns["fingerprint"] = pa.array(shard.fingerprints, pa.binary(16))
        columns["error"] = pa.array(errors, pa.string())
        if self.snippet is not None:
            columns["snippet"] = snippets([e.context for e in shard.examples], answers, self.snippet)
        fields = []
        for name, declared in self.kept.items():
            columns[name] = kept_array([example.kept.get(name) for example in shard.examples], declared)
            fields.append(pa.field(name, columns[name].type))
        schema = self._schema(fields)
        return pa.table([columns[name] for name in schema.names], schema=schema)

    def refused(self, shard: Shard, reason: str) -> Part:
        """Return a part in which every example is rejected.

        :param reason: the error of every example that has none of its own
        """
        errors = [example.error or reason for example in shard.examples]
        schema = answers_schema(documents=False, snippet=False)
        nothing = pa.table({name: pa.nulls(len(errors), schema.field(name).type) for name in self.answers})
        counts = {**dict.fromkeys(COUNTS, 0), "examples": len(errors), "rejected": len(errors)}
        return Part(table=self.table(shard, nothing, errors), counts=counts, rejects=rejects(shard, errors))

    def _schema(self, kept: list[pa.Field]) -> pa.Schema:
        return answers_schema(documents=self.documents, snippet=self.snippet is not None, kept=kept)


_OTHERS = frozenset({*_OF_THE_EXAMPLE, "fingerprint", "error"})
COUNTS = (
    "examples", "answered", "no_answer", "odd", "rejected", "repeated", "taken_over", "truncated_questions",
    "windows", "windows_read",
)  # fmt: skip
"""The names of the counts that every part has."""


def rejects(shard: Shard, errors: Sequence[str | None]) -> list[dict[str, Any]]:
    """Return a description of every rejected example: its row, id, place in the input and error.

    :param errors: the error of each example, ``None`` for those that are not rejected
    """
    return [
        {"row": shard.first_row + offset, "id": example.id, "where": example.where, "reason": error}
        for offset, (example, error) in enumerate(zip(shard.examples, errors, strict=True))
        if error is not None
    ]
