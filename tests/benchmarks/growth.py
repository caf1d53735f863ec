"""Time and memory of an extraction as the input grows, in rows, in windows a document and in questions a document.

    python tests/benchmarks/growth.py [rows|windows|questions ...] [--model DIR] [--rows N ...] [--words N]

Uses the backend without a model, so that only reading, tokenising, windows, spans and files cost. Each size runs in a
process of its own; start-up is left out of the time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from common import MODEL, machine

WORDS = ("qatool reads every window of a long document and keeps the best span of each example " * 8).split()
ROWS = (1_000, 10_000, 100_000, 1_000_000)
WINDOWS = (1, 10, 100, 1_000, 10_000)
QUESTIONS = (1, 10, 100, 1_000)
WINDOW_WORDS = 240
"""About what a window of 384 tokens adds to the one before, at a stride of 128."""
RUN = """\
import json, sys
from qatool.commands.extract import run
from qatool.options import ExtractOptions
asked = ExtractOptions(inputs=(sys.argv[1],), output=sys.argv[1] + ".answers.parquet", **json.loads(sys.argv[2]))
told = run(asked).summary
memory = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
print(json.dumps([memory, told["seconds"], told["windows"], told["windows_read"], told["examples"]]))
"""


def write_rows(path: Path, rows: int, *, words: int) -> None:
    """Write a Parquet file of made-up rows, each with a context of its own, some 5 characters a word."""
    schema = pa.schema([("id", pa.string()), ("question", pa.string()), ("context", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, rows, 5_000):
            numbers = range(first, min(first + 5_000, rows))
            columns = [
                [f"row-{n}" for n in numbers],
                [f"What does example {n} keep?" for n in numbers],
                [f"{n}: " + " ".join(WORDS[n % 17 :][:words]) for n in numbers],
            ]
            writer.write_table(pa.table(columns, schema=schema))


def document(words: int, *, number: int = 0) -> str:
    """Return a made-up text of some length, unlike those of other numbers."""
    said = (f"{WORDS[(place + number) % len(WORDS)]} {place % 997}" for place in range(words // 2))
    return f"Document {number}. {' '.join(said)}"


def measured(corpus: Path, **options: object) -> tuple[float, float, int, int, int]:
    """Answer ``corpus`` in a process of its own.

    :returns: its peak memory in MB, its seconds after loading, windows, windows read, examples
    """
    command = [sys.executable, "-c", RUN, str(corpus), json.dumps({"backend": "constant"} | options)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    memory, seconds, windows, read, examples = json.loads(done.stdout)
    return memory, seconds, windows, read, examples


def of_rows(folder: Path, model: Path, sizes: list[int], *, words: int) -> None:
    """Measure more and more rows."""
    print("      rows      MB   ms an example")
    for rows in sizes:
        write_rows(folder / "rows.parquet", rows, words=words)
        memory, seconds, *_ = measured(folder / "rows.parquet", model=str(model))
        print(f"{rows:>10,} {memory:>7,.0f} {1e3 * seconds / rows:>15.3f}", flush=True)


def of_windows(folder: Path, model: Path) -> None:
    """Measure longer and longer documents, ten thousand windows in all; read whole, and the most relevant only."""
    print(" documents   windows a document   max-windows      MB   ms a window")
    for windows in WINDOWS:
        documents = WINDOWS[-1] // windows
        with (folder / "long.jsonl").open("w", encoding="utf-8") as stream:
            for number in range(documents):
                row = {"question": "What does it keep?", "context": document(windows * WINDOW_WORDS, number=number)}
                stream.write(json.dumps(row) + "\n")
        for limit in ("all", "auto"):
            memory, seconds, there, *_ = measured(folder / "long.jsonl", model=str(model), max_windows=limit)
            line = f"{documents:>10,} {there / documents:>20,.1f} {limit:>13} {memory:>7,.0f}"
            print(f"{line} {1e3 * seconds / there:>13.3f}", flush=True)


def of_questions(folder: Path, model: Path) -> None:
    """Measure more and more questions of a document, a thousand in all."""
    print(" documents   questions a document      MB   ms a question   ms a window read")
    for questions in QUESTIONS:
        documents = QUESTIONS[-1] // questions
        with (folder / "asked.jsonl").open("w", encoding="utf-8") as stream:
            for number in range(documents):
                text = document(20 * WINDOW_WORDS, number=number)
                for asked in range(questions):
                    row = {"question": f"What does example {asked} keep of window {asked % 7}?", "context": text}
                    stream.write(json.dumps(row) + "\n")
        memory, seconds, _, read, examples = measured(folder / "asked.jsonl", model=str(model))
        line = f"{documents:>10,} {questions:>22,} {memory:>7,.0f} {1e3 * seconds / examples:>15.3f}"
        print(f"{line} {1e3 * seconds / read:>18.3f}", flush=True)


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=["rows", "windows", "questions", []], default=[])
    parser.add_argument("--model", type=Path, default=MODEL, help="whose tokenizer to use")
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS))
    parser.add_argument("--words", type=int, default=len(WORDS), help="words of a row's context, at most")
    options = parser.parse_args()
    print(machine())
    wanted = options.what or ["rows", "windows", "questions"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "rows" in wanted:
            of_rows(folder, options.model, options.rows, words=options.words)
        if "windows" in wanted:
            of_windows(folder, options.model)
        if "questions" in wanted:
            of_questions(folder, options.model)


if __name__ == "__main__":
    main()
