"""What the benchmarks share: real data, whole articles, paired timings, and how figures are printed."""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

SHARED = Path(__file__).parents[3] / "shared"
MODEL = SHARED / "models" / "minilm-qa"


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """A question, its context and every accepted answer with its offset (none: unanswerable)."""

    id: str
    question: str
    context: str
    answers: tuple[tuple[str, int], ...]
    article: int
    paragraph: int

    @property
    def texts(self) -> list[str]:
        return [text for text, _ in self.answers]


def data(name: str) -> Path:
    """Return a file of the data beside the project, or end with a line that says what is missing."""
    path = SHARED / "data" / name
    if not path.exists():
        sys.exit(f"{path} is absent: this benchmark needs data that is not part of the project")
    return path


def load(name: str) -> list[Labelled]:
    """Return the examples of a nested SQuAD file."""
    articles = json.loads(data(name).read_text(encoding="utf-8"))["data"]
    return [
        Labelled(
            id=qa["id"],
            question=qa["question"],
            context=paragraph["context"],
            answers=tuple((a["text"], a["answer_start"]) for a in qa["answers"]),
            article=a_index,
            paragraph=p_index,
        )
        for a_index, article in enumerate(articles)
        for p_index, paragraph in enumerate(article["paragraphs"])
        for qa in paragraph["qas"]
    ]


def whole_articles(name: str, *, sample: int, seed: int = 7) -> list[Labelled]:
    """Return ``sample`` examples of a nested file, each asked of its whole article.

    The article is all its paragraphs, joined by a blank line.
    """
    articles = json.loads(data(name).read_text(encoding="utf-8"))["data"]
    texts = [[p["context"] for p in article["paragraphs"]] for article in articles]
    examples = load(name)
    random.Random(seed).shuffle(examples)
    chosen = []
    for one in examples[:sample]:
        before = sum(len(text) + 2 for text in texts[one.article][: one.paragraph])
        moved = tuple((text, start + before) for text, start in one.answers)
        chosen.append(replace(one, context="\n\n".join(texts[one.article]), answers=moved))
    return chosen


def write_jsonl(examples: list[Labelled], path: Path) -> Path:
    """Write examples as input for ``qatool extract``."""
    with path.open("w", encoding="utf-8") as stream:
        for one in examples:
            stream.write(json.dumps({"id": one.id, "question": one.question, "context": one.context}) + "\n")
    return path


@contextmanager
def stopwatch() -> Iterator[list[float]]:
    """Yield a list that receives the seconds the block took."""
    seconds: list[float] = []
    started = time.perf_counter()
    yield seconds
    seconds.append(time.perf_counter() - started)


def alternate(a: Callable[[], object], b: Callable[[], object], *, rounds: int) -> tuple[list[float], list[float]]:
    """Time ``a`` and ``b`` in turn, after one round that does not count; return the seconds of each."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for side, run in zip(times, (a, b), strict=True):
            with stopwatch() as seconds:
                run()
            side.extend(seconds if number else [])
    return times


def report(name: str, a: list[float], b: list[float], *, count: int, unit: str) -> None:
    """Print medians of both and the median of the paired ratios b / a."""
    ratio = statistics.median(y / x for x, y in zip(a, b, strict=True))
    ours, theirs = (count / statistics.median(times) for times in (a, b))
    print(f"{name}: {ours:,.1f} against {theirs:,.1f} {unit}/s, ratio {ratio:.2f} (median of {len(a)} pairs)")


def machine() -> str:
    """Describe this machine in a line."""
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
