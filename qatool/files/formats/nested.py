"""JSON documents: nested SQuAD 1.1 / 2.0, or an array of records, streamed.

SQuAD     {"data": [{"title": …, "paragraphs": [{"context": …, "qas": [{"question": …, "answers": […]}]}]}]}
records   [{"question": …, "context": …}]  or  {"data": [{"question": …, "context": …}]}
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from qatool.errors import InputError
from qatool.files.formats.jsonevents import Event, Events, open_events
from qatool.files.formats.jsonl import duplicate, kind_of
from qatool.files.sources.rows import IN_THE_WAY, Row

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from qatool.files.sources.source import Source

EXPECTED = (
    'expected SQuAD, {"data": [{"paragraphs": [{"context": ..., "qas": [...]}]}]}, or an array of records, '
    '[{"question": ..., "context": ...}]'
)
_SQUAD_FIELDS = frozenset({"title", "context", "question", "id", "answers", "is_impossible", "plausible_answers"})
"""Fields that some questions of SQuAD have, and others lack."""
_SUMMARY_KEYS = {"examples", "rejected", "windows"}
"""Keys by which the summary of a run or of a dry run is recognised."""


class _Item(NamedTuple):
    """The content of a row, before the row gets its number."""

    values: dict[str, Any] | None
    error: str | None = None


class NestedReader:
    """Reads SQuAD and arrays of records, with no more than a paragraph in memory; its rows share one context string.

    A SQuAD row has the fields of its question, ``answers`` as ``{"text": […], "answer_start": […]}`` (``None`` if not
    labelled), the ``context`` of its paragraph and the ``title`` of its article.
    """

    def __init__(self, source: Source) -> None:
        self.source = source

    def columns(self) -> None:
        """Return ``None``: each record has its own fields."""

    def lacking(self, columns: Collection[str]) -> tuple[str, ...] | None:
        """Return the fields that SQuAD questions have where none has one of the given ones; else ``None``.

        ``None`` also for an array of records. Fields that SQuAD does not know are searched for in the questions.

        :raises InputError: as :meth:`rows`
        """
        missing = set(columns) - _SQUAD_FIELDS
        there: dict[str, None] = {}
        wanted = _Wanted(None)
        for row in self._rows(wanted) if missing else ():
            if wanted.has_records:
                return None
            there.update(dict.fromkeys(row.values or ()))
            missing -= there.keys()
            if not missing:
                return None
        return tuple(there) or None

    def arrow_type(self, column: str) -> None:
        """Return ``None``: nothing is declared."""

    def rows(self, columns: Collection[str] | None = None) -> Iterator[Row]:
        """Yield one row for each record, or for each question of a paragraph.

        One that is not an object, or has one of the needed columns twice, becomes a bad row. If the title is wanted
        and follows the paragraphs of an article, the whole article is held in memory.

        :raises InputError: the file is not JSON, is truncated, or has another structure
        """
        return self._rows(_Wanted(columns))

    def documents(self, columns: Collection[str]) -> Iterator[Row]:
        """Yield one row for each record, or for each paragraph, with the id and other fields of its first question.

        :raises InputError: as :meth:`rows`
        """
        return self._rows(_Wanted(columns, documents=True))

    def _rows(self, wanted: _Wanted) -> Iterator[Row]:
        with open_events(self.source) as events:
            for number, item in enumerate(self._items(events, wanted)):
                events.rows = number + 1
                yield Row(number, None, item.values, item.error)

    def _items(self, events: Events, wanted: _Wanted) -> Iterator[_Item]:
        event = events.next()
        if event.kind == "start_array":
            yield from _elements(events, wanted)
            events.finish()
            return
        if event.kind != "start_map":
            raise InputError(f"{self.source.path}: is {kind_of(event.value)}; {EXPECTED}")
        seen = False
        keys = set()
        for key in events.each_key():
            keys.add(key)
            event = events.next()
            if key != "data":
                events.skip(event)
            elif event.kind == "start_array":
                seen = True
                yield from _elements(events, wanted)
            else:
                raise InputError(f"{self.source.path}: 'data' is no array; {EXPECTED}")
        events.finish()
        if not seen and keys >= _SUMMARY_KEYS:
            raise InputError(f"{self.source.path}: is the summary of an earlier run; {IN_THE_WAY}")
        if not seen:
            raise InputError(f"{self.source.path}: an object without 'data'; {EXPECTED}")


class _Wanted:
    """The columns that are needed; values of others are skipped without being built.

    :param documents: whether each paragraph is a row, instead of each question
    """

    def __init__(self, columns: Collection[str] | None, *, documents: bool = False) -> None:
        self._columns = None if columns is None else frozenset(columns)
        self.documents = documents
        self.has_records = False
        """Whether a record was found so far, instead of an article of SQuAD."""

    def __contains__(self, column: str) -> bool:
        return self._columns is None or column in self._columns


def _elements(events: Events, wanted: _Wanted) -> Iterator[_Item]:
    """Yield the rows of an array of articles, records, or both."""
    for event in events.each_element():
        if event.kind == "start_map":
            yield from _element(events, wanted)
        else:
            yield _no_object(events.value(event))


def _element(events: Events, wanted: _Wanted) -> Iterator[_Item]:
    """Yield the rows of an article (an object with the key ``paragraphs``), or the one row of a record."""
    fields: dict[str, Any] = {}
    twice: str | None = None
    late: list[_Item] = []
    is_article = False
    for key in events.each_key():
        event = events.next()
        if key == "paragraphs" and event.kind == "start_array":
            is_article = True
            for item in _paragraphs(events, wanted, fields.get("title")):
                if "title" in fields or "title" not in wanted:
                    yield item
                else:
                    late.append(item)
        elif key in wanted:
            twice = key if key in fields else twice
            fields[key] = events.value(event)
        else:
            events.skip(event)
    for item in late:
        if item.values is not None:
            item.values["title"] = fields.get("title")
        yield item
    if not is_article:
        wanted.has_records = True
        yield _item(events, fields, twice)


def _paragraphs(events: Events, wanted: _Wanted, title: Any) -> Iterator[_Item]:
    for event in events.each_element():
        if event.kind == "start_map" and wanted.documents:
            yield _document(events, wanted, title)
        elif event.kind == "start_map":
            yield from _paragraph(events, wanted, title)
        else:
            yield _no_object(events.value(event))


def _paragraph(events: Events, wanted: _Wanted, title: Any) -> Iterator[_Item]:
    """Yield the rows of a paragraph: as they are read if the context comes first, else at the end."""
    shared: dict[str, Any] = {"title": title} if "title" in wanted else {}
    waiting: list[_Item] = []
    has_context = False
    twice: str | None = None
    for key in events.each_key():
        event = events.next()
        if key == "context":
            if "context" in wanted:
                twice = key if has_context else twice
                shared["context"] = events.value(event)
            else:
                events.skip(event)
            has_context = True
        elif key == "qas" and event.kind == "start_array":
            for element in events.each_element():
                question = _question(events, wanted, element)
                if has_context:
                    yield _row(events, question, shared, twice)
                else:
                    waiting.append(question)
        elif key == "qas" and event.kind != "null":
            yield _Item(None, f"qas is {kind_of(events.value(event))}, not an array")
        else:
            events.skip(event)
    for question in waiting:
        yield _row(events, question, shared, twice)


def _document(events: Events, wanted: _Wanted, title: Any) -> _Item:
    """Return a paragraph as one row, with the fields of its first question, if any."""
    shared: dict[str, Any] = {"title": title} if "title" in wanted else {}
    first: _Item | None = None
    twice: str | None = None
    for key in events.each_key():
        event = events.next()
        if key == "context" and key in wanted:
            twice = key if key in shared else twice
            shared[key] = events.value(event)
        elif key == "qas" and event.kind == "start_array":
            for element in events.each_element():
                if first is None and element.kind == "start_map":
                    first = _question(events, wanted, element)
                else:
                    events.skip(element)
        else:
            events.skip(event)
    if first is None:
        return _item(events, shared, twice)
    item = _item(events, (first.values or {}) | shared, twice)
    return item if item.error is not None else item._replace(error=first.error)


def _question(events: Events, wanted: _Wanted, first: Event) -> _Item:
    """Return a question, without the fields that all questions of a paragraph share."""
    if first.kind != "start_map":
        return _no_object(events.value(first))
    fields: dict[str, Any] = {}
    twice: str | None = None
    for key in events.each_key():
        event = events.next()
        if key in wanted:
            twice = key if key in fields else twice
            fields[key] = events.value(event)
        else:
            events.skip(event)
    if "answers" in wanted:
        fields["answers"] = _answers(fields.get("answers"))
    return _item(events, fields, twice)


def _row(events: Events, question: _Item, shared: dict[str, Any], twice: str | None) -> _Item:
    if question.values is None:
        return question
    item = _item(events, question.values | shared, twice)
    return item if question.error is None else item._replace(error=question.error)


def _item(events: Events, values: dict[str, Any], twice: str | None) -> _Item:
    if twice is None:
        return _Item(values, events.stray_bytes(values))
    return _Item({**values, twice: None}, duplicate(twice))


def _answers(value: Any) -> Any:
    """Return SQuAD's list of answers in the layout of the Hugging Face data set; any other value unchanged."""
    if not isinstance(value, list) or not all(isinstance(answer, dict) for answer in value):
        return value
    return {
        "text": [answer.get("text") for answer in value],
        "answer_start": [answer.get("answer_start") for answer in value],
    }


def _no_object(value: Any) -> _Item:
    return _Item(None, f"is {kind_of(value)}, not an object")
