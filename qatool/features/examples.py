"""The examples of a folder of features as the content of a corpus, including rejected ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qatool.errors import InputError
from qatool.features.layout import examples_schema
from qatool.files.examples.fields import NOTHING_KEPT, InputColumns
from qatool.files.formats.parquet import ParquetReader
from qatool.files.sources.rows import printable, quoted
from qatool.files.sources.source import Source
from qatool.schema import Example, fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from qatool.features.reader import FeaturesFolder
    from qatool.files.examples.documents import Question

_READ = frozenset({"id", "question", "context", "fingerprint", "error"})


class StoredExamples:
    """The content of a :class:`~qatool.files.examples.corpus.Corpus` that is read from features.

    :param columns: the columns to keep, and renames
    :raises InputError: features do not have a column that is to be kept
    """

    def __init__(self, folder: FeaturesFolder, columns: InputColumns) -> None:
        self._folder = folder
        self._columns = columns
        self._name = printable(folder.path.name or str(folder.path))
        there = examples_schema().names
        for field in columns.keep:
            if columns.of(field) not in there:
                raise InputError(
                    f"{folder.path}: features have no column {quoted(columns.of(field))}; there are "
                    f"{', '.join(map(quoted, there))}; drop --keep {field}, or extract from the raw input"
                )

    def examples(self) -> Iterator[Example]:
        """Yield the examples from the start; those that were rejected have ``error`` set.

        :raises InputError: a file cannot be read, or its texts have changed since the windows were cut
        """
        columns = self._columns
        wanted = _READ | columns.named(columns.keep)
        number = 0
        for part in range(self._folder.parts):
            path = self._folder.examples(part)
            for row in ParquetReader(Source(path=path, name=path.name, format="parquet")).rows(wanted):
                values = row.values or {}
                question, context, error = (values.get(name) for name in ("question", "context", "error"))
                if error is None and values.get("fingerprint") != fingerprint(question or "", context or ""):
                    raise InputError(
                        f"{path} row {row.number}: question or context is not the one that its windows were cut "
                        "from; make the features again"
                    )
                kept = columns.kept(values) if columns.keep else NOTHING_KEPT
                place = f"{self._name} row {number}"
                yield Example(values.get("id"), question, context, place, None, None, kept, error)
                number += 1

    def kept_fields(self) -> dict[str, pa.DataType | None]:
        """Return the kept columns with their types."""
        return {field: examples_schema().field(self._columns.of(field)).type for field in self._columns.keep}

    def missing_documents(self) -> list[Question]:
        """Return an empty list, as no question names a document."""
        return []

    def total(self) -> int | None:
        """Return the number of examples."""
        return len(self._folder)
