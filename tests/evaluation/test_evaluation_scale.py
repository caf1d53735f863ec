"""Size: a million answers evaluated in a minute and 2 GB, a report of a hundred thousand in a minute and 5 MB."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qatool.schema import answers_schema

if TYPE_CHECKING:
    from pathlib import Path

MEASURED = """
import json, resource, sys, time
from qatool import cli
began = time.monotonic()
code = cli.run(sys.argv[1:])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"code": code, "seconds": time.monotonic() - began, "bytes": peak}))
"""
BLOCK = 50_000
WORDS = ["the", "river", "in", "1887", "council", "granted", "of", "Norway", "seven", "engines", "a", "quarter"]


def make(folder: Path, total: int) -> None:
    """Write answers with five candidates each, and references, some of three texts and some of none."""
    generator = np.random.default_rng(0)
    schema = answers_schema(documents=False, snippet=False)
    texts = [" ".join(generator.choice(WORDS, size=generator.integers(1, 6))) for _ in range(BLOCK)]
    writers = {}
    for first in range(0, total, BLOCK):
        rows = []
        labels = []
        for number in range(first, min(total, first + BLOCK)):
            near = [texts[(number * 7 + k) % BLOCK] for k in range(5)]
            score = float(generator.random())
            found = [
                {"answer": text, "answer_start": 0, "answer_end": 1, "score": score / (k + 1)}
                for k, text in enumerate(near)
            ]
            rows.append(
                {
                    "id": f"question-{number}",
                    "question": f"What is the {number}?",
                    "answer": near[0] if score > 0.3 else None,
                    "score": score,
                    "no_answer_score": 1 - score,
                    "n_windows": 1 + number % 12,
                    "candidates": found,
                    "fingerprint": number.to_bytes(16),
                }
            )
            right = [near[0], near[1], "something else"] if number % 3 else []
            labels.append(
                {
                    "id": f"question-{number}",
                    "question": f"What is the {number}?",
                    "answers": {"text": right, "answer_start": [0] * len(right)},
                }
            )
        kind = pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int64()))])
        named = pa.schema([("id", pa.string()), ("question", pa.string()), ("answers", kind)])
        for name, values, shape in (("answers", rows, schema), ("references", labels, named)):
            table = pa.Table.from_pylist(values, schema=shape)
            if name not in writers:
                writers[name] = pq.ParquetWriter(folder / f"{name}.parquet", shape)
            writers[name].write_table(table)
    for writer in writers.values():
        writer.close()


def measured(folder: Path, *words: str) -> dict:
    done = subprocess.run([sys.executable, "-c", MEASURED, *words], cwd=folder, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["code"] == 0, done.stderr
    print(found)
    return found


@pytest.mark.slow
def test_a_million_answers(tmp_path) -> None:
    make(tmp_path, 1_000_000)
    found = measured(tmp_path, "evaluate", "answers.parquet", "--references", "references.parquet")
    assert found["seconds"] < 60
    assert found["bytes"] < 2e9


@pytest.mark.slow
def test_a_report_of_a_hundred_thousand(tmp_path) -> None:
    make(tmp_path, 100_000)
    words = ("report", "answers.parquet", "--references", "references.parquet", "-o", "page.html")
    found = measured(tmp_path, *words)
    assert found["seconds"] < 60
    assert (tmp_path / "page.html").stat().st_size < 5e6
