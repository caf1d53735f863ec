"""Peak memory of an extraction does not grow with the input: 20,000 rows against 200,000.

    python tests/benchmarks/memory.py [--model DIR]

Uses the backend without a model, so that only streaming, windows, spans and files cost.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from common import MODEL, machine

WORDS = ("qatool reads every window of a long document and keeps the best span of each example " * 8).split()


def write_corpus(path: Path, rows: int) -> None:
    """Write a Parquet file of made-up rows, each with a context of its own, some 700 characters long."""
    schema = pa.schema([("id", pa.string()), ("question", pa.string()), ("context", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, rows, 5_000):
            numbers = range(first, min(first + 5_000, rows))
            columns = [
                [f"row-{n}" for n in numbers],
                [f"What does example {n} keep?" for n in numbers],
                [f"{n}: " + " ".join(WORDS[n % 17 :]) for n in numbers],
            ]
            writer.write_table(pa.table(columns, schema=schema))


def peak(corpus: Path, model: Path) -> tuple[float, float]:
    """Answer ``corpus`` in a process of its own; return its peak memory in MB and its seconds."""
    code = (
        "import resource, sys, time; started = time.monotonic()\n"
        "from qatool.commands.extract import run; from qatool.options import ExtractOptions\n"
        "run(ExtractOptions(inputs=(sys.argv[1],), output=sys.argv[1] + '.answers.parquet', model=sys.argv[2],"
        " backend='constant'))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.monotonic() - started)"
    )
    done = subprocess.run([sys.executable, "-c", code, corpus, model], check=True, capture_output=True, text=True)
    memory, seconds = map(float, done.stdout.split())
    return memory, seconds


def main() -> None:
    """Measure both sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL, help="whose tokenizer to use")
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000])
    options = parser.parse_args()
    print(machine())
    peaks = []
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            corpus = Path(folder) / "corpus.parquet"
            write_corpus(corpus, rows)
            memory, seconds = peak(corpus, options.model)
        peaks.append(memory)
        print(f"{rows:,} rows: {memory:,.0f} MB at most, {rows / seconds:,.0f} examples/s")
    print(f"ratio {peaks[-1] / peaks[0]:.3f}")


if __name__ == "__main__":
    main()
