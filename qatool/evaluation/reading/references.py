"""Read references, the correct answers, from any labelled input; contexts are not needed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qatool.errors import InputError
from qatool.files.examples.fields import id_or, id_problem, parse_columns, require, text_or_none
from qatool.files.examples.labels import LABEL_FIELDS, LabelError, read_answers, truth_of
from qatool.files.formats.readers import open_reader
from qatool.files.sources.rows import quoted, where

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qatool.files.examples.fields import InputColumns
    from qatool.files.sources.rows import Row
    from qatool.files.sources.source import Source


@dataclass(frozen=True, kw_only=True)
class References:
    """The accepted answers of each question, in input order."""

    ids: list[str]
    texts: list[tuple[str, ...]]
    """The accepted texts of each question; empty if it has no answer."""
    questions: list[str | None]
    extra: Mapping[str, list[Any]]
    """Values of further columns that at least one row has."""


def load_references(
    sources: Sequence[Source], *, column: Sequence[str] = (), extra: Sequence[str] = ()
) -> References:
    """Read labelled rows; neither contexts nor offsets are needed.

    :param column: ``NEW=OLD`` each: read column OLD as NEW
    :param extra: further columns to read, if any row has them
    :raises InputError: a file cannot be read, or a row is bad, not labelled, or has the id of another row
    :raises UsageError: the columns asked for contradict each other
    """
    columns = parse_columns(column, (), documents=False, others=True)
    ids: dict[str, str] = {}
    texts: list[tuple[str, ...]] = []
    questions: list[str | None] = []
    values: dict[str, list[Any]] = {name: [] for name in extra}
    seen: set[str] = set()
    for source in sources:
        _check(source, columns)
        prefix = f"{source.name}:" if len(sources) > 1 else ""
        for row in open_reader(source).rows(columns.named(("id", "question", *LABEL_FIELDS, *extra))):
            fields = row.values or {}
            place = where(source, row)
            name = _id(row, fields.get(columns.of("id")), prefix, place)
            if name in ids:
                raise InputError(f"{place}: the id {quoted(name)} is already that of {ids[name]}; make ids unique")
            ids[name] = place
            texts.append(_texts(fields, columns, place))
            questions.append(text_or_none(fields.get(columns.of("question"))))
            for wanted, found in values.items():
                column_name = columns.of(wanted)
                if column_name in fields:
                    seen.add(wanted)
                found.append(fields.get(column_name))
    return References(
        ids=list(ids),
        texts=texts,
        questions=questions,
        extra={name: found for name, found in values.items() if name in seen},
    )


def _check(source: Source, columns: InputColumns) -> None:
    if source.format == "text":
        raise InputError(f"{source.path}: a text file holds no labels; name labelled rows")
    reader = open_reader(source)
    there = reader.columns()
    if there is not None and columns.of("is_impossible") not in there:
        require(source, reader, columns, ("answers",))
    if "id" in columns.renames:
        require(source, reader, columns, ("id",))


def _id(row: Row, given: Any, prefix: str, place: str) -> str:
    problem = row.error or id_problem("id", given)
    if problem is not None:
        raise InputError(f"{place}: {problem}; mend the row")
    return id_or(given, f"{prefix}{row.number}")


def _texts(fields: Mapping[str, Any], columns: InputColumns, place: str) -> tuple[str, ...]:
    """Return the accepted texts of a row.

    :raises InputError: the row is not labelled, or its labels contradict each other or cannot be read
    """
    return accepted_texts(*(fields.get(columns.of(name)) for name in LABEL_FIELDS), place=place)


def accepted_texts(answers: Any, impossible: Any, *, place: str) -> tuple[str, ...]:
    """Return the texts that labels accept; empty if the question has no answer.

    :param answers: value of the field ``answers``
    :param impossible: value of the field ``is_impossible``
    :param place: place of the row, for messages
    :raises InputError: the labels are missing, contradict each other or cannot be read
    """
    plain = _plain(answers)
    try:
        if plain is not None and truth_of(impossible) in (None, not plain):
            return plain
        labels = read_answers({"answers": answers, "is_impossible": impossible})
    except LabelError as error:
        raise InputError(f"{place}: {error}") from None
    if labels is None:
        raise InputError(f"{place}: is not labelled: neither answers nor is_impossible says anything; label the row")
    return tuple(text for text, _ in labels)


def _plain(answers: Any) -> tuple[str, ...] | None:
    """Return the texts of answers in a usual layout, with or without offsets; ``None`` for any other value.

    A CSV cell may contain such a layout as JSON, or the text itself.
    """
    if isinstance(answers, str) and answers.strip():
        try:
            answers = json.loads(answers) if answers.lstrip()[0] in "{[" else [answers]
        except (ValueError, RecursionError):
            return (answers,)
    if isinstance(answers, dict):
        answers = answers.get("text")
    elif isinstance(answers, list):
        answers = [answer.get("text") if isinstance(answer, dict) else answer for answer in answers]
    if not isinstance(answers, list) or not all(type(text) is str for text in answers):
        return None
    return tuple(answers)
