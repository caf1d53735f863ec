"""Read single rows of a file of answers, with all their columns, and check them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from qatool.errors import InputError
from qatool.evaluation.reading.answers import is_number
from qatool.files.formats.parquet import open_parquet
from qatool.files.formats.readers import open_reader
from qatool.files.sources.paths import resolve
from qatool.files.sources.rows import quoted, where
from qatool.files.sources.streams import reading
from qatool.files.storage.objects import ObjectPath
from qatool.files.values.jsonlines import python_values
from qatool.names import SUCCESS_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qatool.files.sources.source import Source
    from qatool.files.storage.locations import Location

_COLUMNS = {"id", "question", "answer", "candidates", "fingerprint", "error"}
_LINE_SUFFIXES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz", ".jsonl.zst", ".ndjson.zst")


def is_answers(path: Location) -> bool:
    """Return whether a path looks like answers from qatool extract, by its columns or by the keys of its first line.

    :raises InputError: a file of lines cannot be read
    """
    if path.is_dir():
        return (path / SUCCESS_NAME).is_file()
    if path.suffix.lower() == ".parquet":
        try:
            with open_parquet(path) as file:
                return set(file.schema_arrow.names) >= _COLUMNS
        except (OSError, pa.ArrowException):
            return False
    if not path.name.lower().endswith(_LINE_SUFFIXES):
        return False
    first = next(iter(open_reader(_sources(path)[0]).rows()), None)
    return first is None or set(first.values or ()) >= _COLUMNS


def _sources(path: Location) -> list[Source]:
    # uri, because the text of a signed URL lacks the signature.
    return resolve([path.uri if isinstance(path, ObjectPath) else str(path)])


def find_answer(path: Location, *, row: int | None, name: str | None) -> tuple[int, dict[str, Any]]:
    """Return the 0-based row of an answer and its columns; by default of the first answer.

    :param row: 0-based row; ``None`` if not given
    :param name: id of the answer or, if no answer has it, ``question_id`` of which to return the first answer
    :raises InputError: there is no such answer, or the file cannot be read
    """
    passed = 0
    for column in ("id",) if name is None else ("id", "question_id"):
        passed = 0
        for source in _sources(path):
            found, rows = (_in_parquet if source.format == "parquet" else _in_lines)(
                source, None if row is None else row - passed, name, column
            )
            if found is not None:
                return passed + found[0], found[1]
            passed += rows
    if passed == 0:
        raise InputError(f"{path}: holds no answer")
    if name is not None:
        raise InputError(f"{path}: none of its {passed:,} answers has the id {quoted(name)}; check --id")
    raise InputError(f"{path}: has no row {row}; there are {passed:,}, from 0")


def answers_at(path: Location, rows: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return the columns of some answers, by row.

    :param rows: 0-based rows, ascending
    :raises InputError: the file cannot be read
    """
    found: dict[int, dict[str, Any]] = {}
    wanted = set(rows)
    passed = 0
    for source in _sources(path):
        if source.format == "parquet":
            with reading(source), open_parquet(source.path) as file:
                for group in range(file.num_row_groups):
                    size = file.metadata.row_group(group).num_rows
                    here = [row for row in rows if passed <= row < passed + size]
                    if here:
                        places = pa.array([row - passed for row in here])
                        table = file.read_row_group(group).take(places)
                        found.update(zip(here, _rows(table), strict=True))
                    passed += size
        else:
            for line in open_reader(source).rows():
                if passed in wanted and line.values is not None:
                    found[passed] = _decoded(line.values)
                passed += 1
    return found


_Found = tuple[int, dict[str, Any]]


def _in_parquet(source: Source, row: int | None, name: str | None, column: str) -> tuple[_Found | None, int]:
    """Return the row looked for, if it is in this file, and the number of rows passed.

    :param row: 0-based row, used if ``name`` is not given
    :param name: value to look for in ``column``
    """
    passed = 0
    with reading(source), open_parquet(source.path) as file:
        if column not in file.schema_arrow.names:
            return None, file.metadata.num_rows
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            at = (row or 0) - passed
            if name is not None:
                at = pc.index(file.read_row_group(group, columns=[column])[column], pa.scalar(name)).as_py()
            if 0 <= at < rows:
                return (passed + at, _rows(file.read_row_group(group).slice(at, 1))[0]), rows
            passed += rows
    return None, passed


def _in_lines(source: Source, row: int | None, name: str | None, column: str) -> tuple[_Found | None, int]:
    passed = 0
    for line in open_reader(source).rows():
        values = line.values or {}
        if line.error is not None or not {"id", "answer", "candidates"} <= values.keys():
            raise InputError(f"{where(source, line)}: is no answer of qatool extract; name what it wrote")
        if passed == (row or 0) if name is None else values.get(column) == name:
            return (passed, _decoded(values)), passed
        passed += 1
    return None, passed


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    """Return the rows of a table with the same values as from JSON Lines."""
    columns = (python_values(column, strict=False) for column in table.columns)
    return [_decoded(dict(zip(table.column_names, row, strict=True))) for row in zip(*columns, strict=True)]


def _decoded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a row, with its fingerprint converted from hexadecimal digits to bytes."""
    mark = values.get("fingerprint")
    try:
        decoded = bytes.fromhex(mark) if isinstance(mark, str) else None
    except ValueError:
        decoded = None
    return {**values, "fingerprint": decoded}


def check_row(path: str, row: int, values: Mapping[str, Any], *, numbers: Sequence[str] = ()) -> None:
    """Check that a row of answers has all columns that are shown, as a file edited by others may lack some.

    :param path: path of the answers, for messages
    :param row: 0-based row, for messages
    :param values: its columns
    :param numbers: columns that must hold a number, unless the row was rejected
    :raises InputError: a value is missing or has another type
    """
    missing = [f"no {name}" for name in ("question", "answer", "candidates", "error") if name not in values]
    if not missing and values["error"] is None:
        missing = [f"no number as {name}" for name in numbers if not is_number(values.get(name))]
    if not missing and not _are_candidates(values["candidates"]):
        missing = ["a candidate without answer, score or offsets"]
    if missing:
        raise InputError(f"{path} row {row}: {missing[0]}; name answers as qatool extract wrote them")


def _are_candidates(value: object) -> bool:
    return value is None or (
        isinstance(value, list)
        and all(
            isinstance(one, dict)
            and isinstance(one.get("answer"), str)
            and is_number(one.get("score"))
            and type(one.get("answer_start")) is type(one.get("answer_end")) is int
            for one in value
        )
    )
