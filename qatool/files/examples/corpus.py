"""The corpus: all examples of the input, streamed from any mix of files."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Protocol

from qatool.errors import InputError
from qatool.files.examples.documents import AskedDocuments, Question, load_questions, numbered
from qatool.files.examples.fields import (
    NOTHING_KEPT,
    InputColumns,
    id_or,
    id_problem,
    parse_columns,
    require,
    require_text,
    text_or_none,
    text_problem,
)
from qatool.files.formats.counting import total_rows
from qatool.files.formats.parquet import learn_footers
from qatool.files.formats.readers import open_reader
from qatool.files.sources.rows import bad_row, shown_name
from qatool.schema import Example

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from qatool.files.sources.source import Source
    from qatool.options import OnError


class _Examples(Protocol):
    def examples(self) -> Iterator[Example]: ...

    def kept_fields(self) -> dict[str, pa.DataType | None]: ...

    def missing_documents(self) -> list[Question]: ...

    def total(self) -> int | None: ...


class Corpus:
    """Examples in input order, readable any number of times; memory does not grow with the number of rows.

    Only a separate file of questions is held in memory as a whole. Created by :func:`open_corpus`.
    """

    def __init__(self, content: _Examples, columns: InputColumns, *, limit: int | None) -> None:
        self._content = content
        self._columns = columns
        self._limit = limit

    @property
    def documents(self) -> AskedDocuments | None:
        """Documents and questions, if they are given separately; ``None`` if each row holds both."""
        return self._content if isinstance(self._content, AskedDocuments) else None

    def of(self, documents: AskedDocuments) -> Corpus:
        """Return a corpus with the same columns and limit over another selection of documents and questions."""
        return Corpus(documents, self._columns, limit=self._limit)

    def examples(self, *, refuse_bad: bool = False) -> Iterator[Example]:
        """Yield the examples from the start, up to the limit; those of bad rows have ``error`` set.

        :param refuse_bad: whether a bad row is an error
        :raises InputError: a file cannot be read or is truncated, or there is a bad row and ``refuse_bad`` is set
        """
        for example in islice(self._content.examples(), self._limit):
            if refuse_bad and example.error is not None:
                raise bad_row(f"{example.where}: {example.error}")
            yield example

    def total(self) -> int | None:
        """Return the number of examples, ``None`` if it cannot be known without reading them."""
        total = self._content.total()
        return total if total is None or self._limit is None else min(total, self._limit)

    def kept_fields(self) -> dict[str, pa.DataType | None]:
        """Return the kept columns with the type that the files declare; ``None`` where it must be inferred."""
        return self._content.kept_fields()

    def unseen_columns(self) -> list[str]:
        """Return the kept columns that no row read so far had; possible only in JSON, where rows differ in fields."""
        return sorted(self._columns.unseen)

    def missing_documents(self) -> list[Question]:
        """Return the questions that name a document which does not exist; read ids until all named ones are found.

        :raises InputError: a file cannot be read or is truncated
        """
        return self._content.missing_documents()


def open_corpus(
    sources: Sequence[Source],
    *,
    column: Sequence[str] = (),
    keep: Sequence[str] = (),
    optional: Sequence[str] = (),
    question: Sequence[str] = (),
    questions: Source | None = None,
    limit: int | None = None,
    on_error: OnError = "fail",
    snippet: bool = False,
) -> Corpus:
    """Return the corpus of the given files, after checking their headers.

    :param sources: rows with question and context, or documents if questions are given separately
    :param column: ``NEW=OLD`` each: read column OLD as NEW
    :param keep: columns to carry into the output, by their names in qatool
    :param optional: further such columns, which a file may lack unless they are renamed
    :param question: questions to ask of every document
    :param questions: file of questions, held in memory
    :param limit: the number of examples after which to stop
    :param on_error: whether a bad row of the questions file raises an error here or becomes a rejected example
    :param snippet: whether the output will have a column ``snippet``
    :raises UsageError: the columns asked for contradict each other or collide with those of the output
    :raises InputError: a file cannot be read, lacks a column or cannot be used without questions
    """
    learn_footers(sources)
    asks = bool(question) or questions is not None
    columns = parse_columns(column, [*keep, *optional], documents=asks, snippet=snippet)
    content: _Examples
    if asks:
        asked = numbered(question) if questions is None else load_questions(questions, columns, on_error)
        content = AskedDocuments(sources, columns, asked)
    else:
        content = _PlainRows(sources, columns, optional=frozenset(optional) - columns.renames.keys())
    content.kept_fields()
    return Corpus(content, columns, limit=limit)


class _PlainRows:
    """Rows that hold question and context themselves."""

    def __init__(self, sources: Sequence[Source], columns: InputColumns, *, optional: frozenset[str]) -> None:
        self._sources = sources
        self._columns = columns
        needed = [field for field in columns.keep if field not in optional]
        for source in sources:
            if source.format == "text":
                raise InputError(
                    f"{source.path}: is a document without a question; name rows with both (.jsonl, .csv, .parquet)"
                )
            reader = open_reader(source)
            named = ("id",) if "id" in columns.renames else ()
            of_many = len(sources) > 1
            require(source, reader, columns, ("question", "context", *named, *needed), of_many=of_many)
            require_text(source, reader, columns, ("question", "context"))
            reader.arrow_type(columns.of("id"))  # raises if there are two such columns, before any row is read

    def kept_fields(self) -> dict[str, pa.DataType | None]:
        return {field: declared_type(self._sources, self._columns.of(field)) for field in self._columns.keep}

    def missing_documents(self) -> list[Question]:
        return []

    def total(self) -> int | None:
        return total_rows(self._sources)

    def examples(self) -> Iterator[Example]:
        for source in self._sources:
            prefix = f"{source.name}:" if len(self._sources) > 1 else ""
            yield from _examples_of(source, self._columns, prefix)


def _examples_of(source: Source, columns: InputColumns, prefix: str) -> Iterator[Example]:
    """Yield the examples of one file; good rows in plain ASCII, the bulk of most corpora, take a fast path."""
    id_column, question_column, context_column = (columns.of(name) for name in ("id", "question", "context"))
    name = shown_name(source)
    last: str | None = None
    for row in open_reader(source).rows(columns.named(("id", "question", "context", *columns.keep))):
        values = row.values or {}
        given, question, context = (
            values.get(id_column),
            values.get(question_column),
            values.get(context_column),
        )
        place = f"{name} row {row.number}" if row.line is None else f"{name}:{row.line}"
        kept = columns.kept(values) if columns.keep else NOTHING_KEPT
        if (
            row.error is None
            and type(given) is type(question) is type(context) is str
            and given  # an empty id is none
            and given.isascii()
            and question.isascii()
            and context.isascii()
        ):
            # Consecutive questions often have the same context: let their examples share one string.
            last = last if context == last else context
            yield Example(given, question, last, place, None, None, kept, None)
            continue
        error = row.error or (
            text_problem("question", values, question_column)
            or text_problem("context", values, context_column)
            or id_problem("id", given)
        )
        if error is not None:
            question, context = text_or_none(question), text_or_none(context)
        shown_id = id_or(given, f"{prefix}{row.number}")
        yield Example(shown_id, question, context, place, None, None, kept, error)


def declared_type(sources: Sequence[Source], column: str) -> pa.DataType | None:
    """Return the type that all files declare for a column, ``None`` if they differ or one declares none.

    :raises InputError: a file cannot be read
    """
    found = [open_reader(source).arrow_type(column) for source in sources]
    return found[0] if found and all(kind == found[0] for kind in found) else None
