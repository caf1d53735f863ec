"""Documents × questions: each question asked of each document, or only of the one it names."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from copy import copy
from typing import TYPE_CHECKING, Any, NamedTuple

from qatool.errors import InputError
from qatool.files.examples.fields import (
    NOTHING_KEPT,
    InputColumns,
    id_column_of,
    id_of,
    id_or,
    id_problem,
    require,
    require_text,
    text_or_none,
    text_problem,
)
from qatool.files.formats.counting import total_rows
from qatool.files.formats.readers import documents_of, open_reader
from qatool.files.sources.rows import bad_row, quoted, where
from qatool.logs import log_event
from qatool.schema import Example
from qatool.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from qatool.files.sources.rows import Reader, Row
    from qatool.files.sources.source import Source
    from qatool.options import OnError


class Question(NamedTuple):
    """One question asked of documents."""

    id: str
    text: str | None
    where: str
    """Source and row for messages; ``--question`` for one from the command line."""
    document_id: str | None = None
    """The one document to ask; ``None`` for every document (or, in a bad row, for an unknown one)."""
    values: dict[str, Any] | None = None
    """The values of its row in the questions file, if columns are kept."""
    error: str | None = None
    """Why the row is bad; ``None`` for a good one."""


class Questions(NamedTuple):
    """All questions of a run, held in memory."""

    every: list[Question]
    """Questions to ask of every document; empty if questions name their documents."""
    by_document: dict[str, list[Question]] | None
    """Questions by the id of the document they name, in file order; ``None`` if the file has no ``document_id``."""
    bad: list[Question]
    """Bad rows of the questions file."""
    source: Source | None = None
    """The questions file; ``None`` for questions from the command line."""


class Document(NamedTuple):
    """One document, or the readable part of a bad row."""

    id: str
    is_known: bool
    """Whether ``id`` is certain: ``False`` if the row's id was unreadable; a missing id is the row number."""
    context: str | None
    """The text; ``None`` if unreadable."""
    where: str
    values: dict[str, Any] | None
    error: str | None


def numbered(texts: Sequence[str]) -> Questions:
    """Return the questions of the command line, with the ids ``q0``, ``q1``, …"""
    every = [Question(f"q{number}", text, "--question") for number, text in enumerate(texts)]
    return Questions(every, None, [])


def load_questions(source: Source, columns: InputColumns, on_error: OnError) -> Questions:
    """Read the whole questions file into memory.

    Its questions name their documents if it has a column ``document_id`` or, in JSON, if any record has that field;
    a row without one is then bad.

    :raises InputError: the file cannot be read, lacks a column, or has a bad row with ``on_error`` ``"fail"``
    """
    if source.format == "text":
        raise InputError(f"{source.path}: questions need a row each; use .jsonl, .csv or .parquet")
    reader = open_reader(source)
    require(source, reader, columns, ("question",))
    require_text(source, reader, columns, ("question",))
    id_column = id_column_of(columns, reader)
    there = reader.columns()
    names_documents = there is not None and columns.of("document_id") in there
    wanted = columns.named(("id", "question", "document_id", *columns.keep)) | {id_column}
    rows = list(reader.rows(wanted))
    names_documents |= any(columns.of("document_id") in (row.values or {}) for row in rows)
    if not rows:
        log_event(f"{source.path}: holds no question, so nothing is asked", level=logging.WARNING)
    found = [_question(source, row, columns, id_column, named=names_documents) for row in rows]
    bad = [question for question in found if question.error is not None]
    if bad and on_error == "fail":
        raise bad_row(f"{bad[0].where}: {bad[0].error}")
    good = [question for question in found if question.error is None]
    _warn_of_shared_ids(source, good)
    if not names_documents:
        return Questions(good, None, bad, source)
    by_document: defaultdict[str, list[Question]] = defaultdict(list)
    for question in good:
        by_document[question.document_id or ""].append(question)
    return Questions([], dict(by_document), bad, source)


def _warn_of_shared_ids(source: Source, questions: list[Question]) -> None:
    times = Counter((question.id, question.document_id) for question in questions)
    if shared := [name for (name, _), count in times.items() if count > 1]:
        log_event(
            f"{source.path}: several questions share an id ({counted(len(shared), 'id')}, the first "
            f"{quoted(shared[0])}), and so do their answers",
            level=logging.WARNING,
        )


def _question(source: Source, row: Row, columns: InputColumns, id_column: str, *, named: bool) -> Question:
    place = where(source, row)
    default = f"q{row.number}"
    if row.values is None:
        return Question(default, None, place, error=row.error)
    values = row.values
    given = id_of(values, id_column)
    document = values.get(columns.of("document_id")) if named else None
    error = row.error or text_problem("question", values, columns.of("question")) or id_problem("id", given)
    if named and error is None:
        error = "document_id is null" if document is None else id_problem("document_id", document)
    return Question(
        id=id_or(given, default),
        text=text_or_none(values.get(columns.of("question"))),
        where=place,
        document_id=None if document is None or id_problem("", document) else str(document),
        values=values if columns.keep else None,
        error=error,
    )


class AskedPairs(NamedTuple):
    """The questions to ask of each document: ``question[boundaries[d]:boundaries[d + 1]]`` of document ``d``."""

    boundaries: NDArray[np.int64]
    """``(documents + 1,)``: where each document's questions begin and end in ``question``."""
    question: NDArray[np.int32]
    """``(pairs,)``: indices into :attr:`Questions.every`, ascending within a document."""


class AskedDocuments:
    """The examples of documents × questions, document by document.

    :raises InputError: a file lacks a column that is needed, renamed or kept
    """

    def __init__(self, sources: Sequence[Source], columns: InputColumns, questions: Questions) -> None:
        self._sources = sources
        self._columns = columns
        self._questions = questions
        self._pairs: AskedPairs | None = None
        self._question_reader = None if questions.source is None else open_reader(questions.source)
        for source in sources:
            reader = open_reader(source)
            require(source, reader, columns, ("context",), of_many=len(sources) > 1)
            require_text(source, reader, columns, ("context",))
            reader.arrow_type(id_column_of(columns, reader))  # raises if there are two, before any row is read
            missing = [field for field in columns.keep if not self._questions_may_have(columns.of(field))]
            if "id" in columns.renames and not self._questions_may_have(columns.of("id")):
                missing.append("id")
            require(source, reader, columns, missing)
            if self._has_questions(source, reader):
                log_event(f"{source.path}: its own questions are not asked, only those of --question or --questions")

    def _has_questions(self, source: Source, reader: Reader) -> bool:
        """Return whether a file of documents declares a column of questions or, in nested JSON, begins with one."""
        column, there = self._columns.of("question"), reader.columns()
        if there is not None or source.format != "json":
            return column in (there or ())
        first = next(iter(reader.rows({column})), None)
        return first is not None and column in (first.values or ())

    def _questions_may_have(self, column: str) -> bool:
        if self._question_reader is None:
            return False
        there = self._question_reader.columns()
        return there is None or column in there

    def questions_of_all(self) -> list[str]:
        """Return the texts of the questions that are asked of every document; none if questions name documents."""
        return [question.text or "" for question in self._questions.every]

    def documents(self) -> Iterator[Document]:
        """Yield every document; one from a bad row has ``error`` set, and makes its examples rejected ones.

        :raises InputError: a file cannot be read or is truncated
        """
        return self._documents(self._columns.named(("id", "context", *self._columns.keep)) | {"id"})

    def only(self, pairs: AskedPairs) -> AskedDocuments:
        """Return the same documents, each to be asked only the questions that ``pairs`` lists for it."""
        found = copy(self)
        found._pairs = pairs
        return found

    def kept_fields(self) -> dict[str, pa.DataType | None]:
        """Return the kept columns with the type that all files having them declare, else ``None``."""
        types: dict[str, pa.DataType | None] = {}
        for field in self._columns.keep:
            column = self._columns.of(field)
            readers = [open_reader(source) for source in self._sources]
            named = [reader.columns() for reader in readers]
            having = [r for r, there in zip(readers, named, strict=True) if there is None or column in there]
            if self._question_reader is not None and not (
                len(having) == len(readers) and all(there is not None for there in named)
            ):
                having.append(self._question_reader)
            found = [reader.arrow_type(column) for reader in having]
            types[field] = found[0] if found and all(kind == found[0] for kind in found) else None
        return types

    def missing_documents(self) -> list[Question]:
        """Return the questions that name a document which does not exist; read ids until all named ones are found.

        :raises InputError: a file cannot be read or is truncated
        """
        missing = set(self._questions.by_document or ())
        if not missing:
            return []
        for document in self._documents(frozenset({"id", self._columns.of("id")})):
            if document.is_known:
                missing.discard(document.id)
                if not missing:
                    break
        return self._unasked(missing)

    def total(self) -> int | None:
        """Return the number of examples, ``None`` if the documents cannot be counted without reading them."""
        if self._questions.by_document is not None:
            return sum(map(len, self._questions.by_document.values())) + len(self._questions.bad)
        if self._pairs is not None:
            return len(self._pairs.question) + len(self._questions.bad)
        documents = self.total_documents()
        return None if documents is None else documents * len(self._questions.every) + len(self._questions.bad)

    def total_documents(self) -> int | None:
        """Return the number of documents, ``None`` if they cannot be counted without reading them."""
        return total_rows(self._sources, documents=True)

    def examples(self) -> Iterator[Example]:
        """Yield the examples of each document, then rejected examples for questions that could not be asked.

        :raises InputError: a file cannot be read, is truncated, or does not match the pairs of :meth:`only`
        """
        by_document = self._questions.by_document
        missing = set(by_document or ())
        number = -1
        for number, document in enumerate(self.documents()):
            if by_document is None:
                asked = self._asked_of(number)
            elif document.is_known:
                asked = by_document.get(document.id, [])
                missing.discard(document.id)
            else:
                asked = []
                yield self._unidentified(document)
            for question in asked:
                yield self._ask(document, question)
        self._check_paired(number + 1)
        for question in self._unasked(missing):
            reason = f"no document has the id {quoted(question.document_id)}"
            yield self._never_asked(question, reason)
        for question in self._questions.bad:
            yield self._never_asked(question, question.error)

    def _asked_of(self, document: int) -> list[Question]:
        """Return the questions to ask of the document with this 0-based number, where questions name no documents."""
        if self._pairs is None:
            return self._questions.every
        if document + 1 == len(self._pairs.boundaries):
            self._check_paired(document + 1)
        first, last = self._pairs.boundaries[document : document + 2]
        return [self._questions.every[place] for place in self._pairs.question[first:last].tolist()]

    def _check_paired(self, documents: int) -> None:
        """Check that the number of documents is the number that was paired with questions.

        :raises InputError: it is not, because the input changed meanwhile
        """
        if self._pairs is not None and documents != len(self._pairs.boundaries) - 1:
            raise InputError(
                f"{self._sources[0].path}: documents came or went while the input was read; let it rest, and start "
                "the same command again"
            )

    def _documents(self, wanted: frozenset[str]) -> Iterator[Document]:
        for source in self._sources:
            prefix = f"{source.name}:" if len(self._sources) > 1 else ""
            reader = open_reader(source)
            id_column = id_column_of(self._columns, reader)
            for row in documents_of(reader, wanted):
                yield _document(source, row, self._columns, id_column, prefix)

    def _unasked(self, missing: set[str]) -> list[Question]:
        by_document = self._questions.by_document or {}
        return [question for name, asked in by_document.items() if name in missing for question in asked]

    def _ask(self, document: Document, question: Question) -> Example:
        return Example(
            id=f"{document.id}/{question.id}",
            question=question.text,
            context=document.context,
            where=document.where,
            document_id=document.id,
            question_id=question.id,
            kept=self._kept(document.values, question.values),
            error=document.error,
        )

    def _unidentified(self, document: Document) -> Example:
        return Example(
            id=document.id,
            question=None,
            context=document.context,
            where=document.where,
            document_id=document.id,
            kept=self._kept(document.values, None),
            error=document.error,
        )

    def _never_asked(self, question: Question, error: str | None) -> Example:
        return Example(
            id=question.id if question.document_id is None else f"{question.document_id}/{question.id}",
            question=question.text,
            context=None,
            where=question.where,
            document_id=question.document_id,
            question_id=question.id,
            kept=self._kept(None, question.values),
            error=error,
        )

    def _kept(self, document: dict[str, Any] | None, question: dict[str, Any] | None) -> dict[str, Any]:
        columns = self._columns
        return columns.kept((question or {}) | (document or {})) if columns.keep else NOTHING_KEPT


def _document(source: Source, row: Row, columns: InputColumns, id_column: str, prefix: str) -> Document:
    default = f"{prefix}{row.number}"
    place = where(source, row)
    if row.values is None:
        return Document(default, False, None, place, None, row.error)  # noqa: FBT003
    values = row.values
    given = id_of(values, id_column)
    bad_id = id_problem("id", given)
    context_column = columns.of("context")
    error = row.error or text_problem("context", values, context_column) or bad_id
    context = values.get(context_column)
    if error is not None:
        context = text_or_none(context)
    return Document(id_or(given, default), bad_id is None, context, place, values, error)
