"""Find the contexts of answers in the corpus that they were extracted from."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from qatool.files.examples.fields import id_column_of, id_of, id_or, parse_columns, require, text_problem
from qatool.files.formats.readers import documents_of, open_reader
from qatool.schema import fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qatool.files.sources.source import Source


class Asked(NamedTuple):
    """An answer whose context is to be found."""

    question: str
    document_id: str | None
    """Id of the answer's document, if questions were given separately."""


def find_contexts(
    sources: Sequence[Source], wanted: Mapping[bytes, Asked], *, column: Sequence[str] = ()
) -> dict[bytes, str]:
    """Return the contexts of wanted answers, by fingerprint; those that have changed since are missing.

    :param sources: rows with question and context, or documents if questions were given separately
    :param wanted: answers by fingerprint of question and context
    :param column: ``NEW=OLD``: read column OLD as NEW
    :raises InputError: a file cannot be read, or has no contexts
    """
    columns = parse_columns(column, (), documents=False, others=True)
    of_document: defaultdict[str, list[str]] = defaultdict(list)
    for asked in wanted.values():
        if asked.document_id is not None:
            of_document[asked.document_id].append(asked.question)
    found: dict[bytes, str] = {}
    for source in sources:
        reader = open_reader(source)
        require(source, reader, columns, ("context",))
        prefix = f"{source.name}:" if len(sources) > 1 else ""
        id_column = id_column_of(columns, reader)
        names = columns.named(("id", "question", "context")) | {id_column}
        for row in documents_of(reader, names) if of_document else reader.rows(names):
            values = row.values or {}
            context, question = (values.get(columns.of(name)) for name in ("context", "question"))
            if row.error is not None or text_problem("context", values, columns.of("context")):
                continue
            name = id_or(id_of(values, id_column), f"{prefix}{row.number}")
            asked_here = of_document.get(name, [])
            for text in [*asked_here, question] if isinstance(question, str) else asked_here:
                if not _is_valid(text):
                    continue
                mark = fingerprint(text, context or "")
                if mark in wanted:
                    found[mark] = context or ""
            if len(found) == len(wanted):
                return found
    return found


def _is_valid(text: str) -> bool:
    """Return whether a text is valid Unicode; one with a lone surrogate was rejected, so that it has no answer."""
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)
