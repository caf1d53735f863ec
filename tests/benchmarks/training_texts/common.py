"""What the makers of training texts share: examples, and how they are read and written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


class Example(NamedTuple):
    """A question, its context and every accepted answer with its offset (none: unanswerable)."""

    question: str
    context: str
    answers: tuple[tuple[str, int], ...] = ()


def read_articles(path: Path) -> list[dict[str, Any]]:
    """Return the articles of a nested SQuAD file."""
    articles: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["data"]
    return articles


def read_examples(path: Path) -> Iterator[Example]:
    """Yield the examples of a nested SQuAD file; what SQuAD 2.0 calls plausible answers is left out."""
    for article in read_articles(path):
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                accepted = [] if asked.get("is_impossible") else asked["answers"]
                answers = tuple((answer["text"], answer["answer_start"]) for answer in accepted)
                yield Example(asked["question"], paragraph["context"], answers)


def write_articles(articles: list[dict[str, Any]], path: Path) -> None:
    """Write articles as a nested SQuAD file."""
    path.write_text(json.dumps({"version": "x", "data": articles}), encoding="utf-8")


def write_examples(examples: Iterable[Example], path: Path, *, prefix: str) -> None:
    """Write examples as flat lines of JSON.

    :param prefix: what their ids begin with, to differ from those of other files
    """
    with path.open("w", encoding="utf-8") as stream:
        for number, (question, context, answers) in enumerate(examples):
            row = {
                "id": f"{prefix}-{number}",
                "question": question,
                "context": context,
                "answers": {"text": [text for text, _ in answers], "answer_start": [start for _, start in answers]},
            }
            stream.write(json.dumps(row) + "\n")
