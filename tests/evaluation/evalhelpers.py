"""Answers and references made for a test, and the official scripts' arithmetic written down once more."""

from __future__ import annotations

import json
import os
import re
import string
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from qatool.schema import answers_schema

if TYPE_CHECKING:
    from pathlib import Path


def write_json(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def reference(name: str, *texts: str, question: str = "What is it?", **more: Any) -> dict[str, Any]:
    labels = {"text": list(texts), "answer_start": [0] * len(texts)}
    return {"id": name, "question": question, "context": "It is so.", "answers": labels, **more}


def write_references(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def answer(
    name: str,
    text: str | None,
    *candidates: str,
    score: float | None = 0.5,
    no_answer_score: float | None = 0.1,
    error: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A row of answers; the decision is the first candidate where none are given."""
    texts = candidates or ((text,) if text else ())
    return {
        "id": name,
        "question": "What is it?",
        "answer": text,
        "answer_start": 0,
        "answer_end": 2,
        "score": score,
        "no_answer_score": no_answer_score,
        "window": 0,
        "n_windows": 1,
        "n_windows_read": 1,
        "candidates": None
        if error
        else [{"answer": one, "score": score, "answer_start": 0, "answer_end": 2} for one in texts],
        "fingerprint": None,
        "error": error,
        **more,
    }


def write_answers(path: Path, *rows: dict[str, Any], kept: list[pa.Field] | None = None) -> Path:
    schema = answers_schema(documents="question_id" in rows[0], snippet="snippet" in rows[0], kept=kept)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path)
    return path


def without_powers(*words: str) -> tuple[int, str]:
    """Run a command as somebody whom permissions count for, as they do not for root; return exit code and errors."""
    less = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")
    command = [*(() if os.geteuid() else less), sys.executable, "-m", "qatool", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr


def official_normalize(text: str) -> str:
    """As in the official scripts: lower case, no punctuation, no articles, single spaces."""
    lowered = text.lower()
    bare = "".join(char for char in lowered if char not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def official_scores(answer: str, references: list[str], *, script: str) -> tuple[float, float]:
    """EM and F1 of one answer as script ``1.1`` or ``2.0`` computes them."""
    if script == "2.0":
        references = [text for text in references if official_normalize(text)] or [""]
    pairs = [(official_normalize(answer), official_normalize(text)) for text in references]
    exact = max(float(one == other) for one, other in pairs)
    f1 = 0.0
    for one, other in pairs:
        found, expected = one.split(), other.split()
        shared = sum((Counter(found) & Counter(expected)).values())
        if script == "2.0" and (not found or not expected):
            f1 = max(f1, float(found == expected))
        elif shared:
            precision, recall = shared / len(found), shared / len(expected)
            f1 = max(f1, 2 * precision * recall / (precision + recall))
    return exact, f1
