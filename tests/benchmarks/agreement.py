"""Reference decoding against the outputs of the reference programs, and native decoding against both.

    python tests/benchmarks/agreement.py            # paragraphs: 3 x 3,881 + 3,609 questions
    python tests/benchmarks/agreement.py --articles # whole articles: 150 questions in each mode

Needs the oracles beside the project. Prints the share of examples whose offsets agree, the largest difference of
their scores, and EM and F1 of every mode.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from common import MODEL, SHARED, Labelled, data, load, machine, whole_articles, write_jsonl

from qatool.commands.extract import run
from qatool.options import Decode, ExtractOptions
from qatool.squad import best

ORACLES = SHARED / "oracles"
MODES: tuple[Decode, ...] = ("hf-pipeline", "squad-script", "native")


def answers(source: Path, mode: Decode, **options: Any) -> dict[str, dict[str, Any]]:
    """Answer ``source`` in a decode mode; return the rows by id."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "answers.parquet"
        run(
            ExtractOptions(
                inputs=(str(source),),
                output=str(output),
                model=str(MODEL),
                decode=mode,
                precision="fp32",
                **options,
            )
        )
        return {row["id"]: row for row in pq.read_table(output).to_pylist()}


def quality(examples: list[Labelled], rows: dict[str, dict[str, Any]]) -> str:
    """Return EM and F1 in words."""
    figures = {
        name: sum(best(measure, rows[one.id]["answer"], one.texts) for one in examples) / len(examples)
        for name, measure in (("EM", "exact_match"), ("F1", "f1"))
    }
    return "  ".join(f"{name} {100 * value:.2f}" for name, value in figures.items())


def agreement(rows: dict[str, dict[str, Any]], oracle: str, score: str, answer: str = "answer") -> str:
    """Compare with an oracle: offsets (or texts, where it has no offsets for them) and scores."""
    expected = {row["id"]: row for row in pq.read_table(ORACLES / oracle).to_pylist()}
    same = []
    for name, row in rows.items():
        theirs = expected[name]
        if answer == "answer":
            agrees = (row["answer_start"], row["answer_end"]) == (theirs["answer_start"], theirs["answer_end"])
        else:
            agrees = (row["answer"] or "") == theirs[answer]
        if agrees:
            same.append(name)
    worst = max(abs(rows[name]["score"] - expected[name][score]) for name in same)
    return f"agree {100 * len(same) / len(rows):.2f} % ({len(rows) - len(same)} differ), scores within {worst:.1e}"


def main() -> None:
    """Compare on paragraphs, or measure whole articles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--articles", action="store_true")
    parser.add_argument("--sample", type=int, default=150)
    options = parser.parse_args()
    print(machine())
    if options.articles:
        with tempfile.TemporaryDirectory() as folder:
            examples = whole_articles("squad1.1-dev-part-b.json", sample=options.sample)
            source = write_jsonl(examples, Path(folder) / "articles.jsonl")
            for mode in MODES:
                print(f"whole articles, {mode}: {quality(examples, answers(source, mode, always_answer=True))}")
        return
    examples = load("squad1.1-dev-part-b.json")
    source = data("squad1.1-dev-part-b.json")
    for mode in MODES:
        rows = answers(source, mode, always_answer=True)
        print(f"SQuAD 1.1 part B, {mode}: {quality(examples, rows)}")
        if mode == "hf-pipeline":
            print("  " + agreement(rows, "hf-pipeline-part-b.parquet", "score"))
        if mode == "squad-script":
            print("  " + agreement(rows, "squad-script-part-b.parquet", "probability"))
    rows = answers(data("squad2.0-dev-part-b.json"), "squad-script", no_answer_threshold=0.5)
    oracle = "squad-script-squad2.0-part-b.parquet"
    print("SQuAD 2.0 part B, squad-script: " + agreement(rows, oracle, "probability", "squad2_answer"))


if __name__ == "__main__":
    main()
