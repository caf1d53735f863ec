"""A list of questions asked of every document of a collection, and the best answer to each: ``--best-per question``.

    python tests/benchmarks/across_documents.py [--model DIR] [--questions 60] [--precision bf16]

Questions of SQuAD 1.1 part B, each asked of all 16 whole articles, of which one holds its answer. Prints EM and F1 of
the best answer, how often it comes from the right article, the windows read and the time, for each ``--max-windows``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from common import MODEL, load, machine, whole_articles

from qatool.commands.extract import run
from qatool.options import ExtractOptions
from qatool.squad import best

SOURCE = "squad1.1-dev-part-b.json"
LIMITS = ("auto", "5", "all")


def main() -> None:
    """Answer the same questions once for each limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--limits", nargs="*", default=LIMITS)
    options = parser.parse_args()
    asked = whole_articles(SOURCE, sample=options.questions)
    every = whole_articles(SOURCE, sample=len(load(SOURCE)))
    articles = {one.article: one.context for one in every}
    print(f"{machine()}; {len(asked)} questions, each asked of {len(articles)} articles; {options.precision}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus, questions = folder / "articles.jsonl", folder / "questions.jsonl"
        corpus.write_text("".join(json.dumps({"id": str(n), "context": t}) + "\n" for n, t in articles.items()))
        questions.write_text("".join(json.dumps({"id": one.id, "question": one.question}) + "\n" for one in asked))
        for limit in options.limits:
            output = folder / f"{limit}.parquet"
            told = run(
                ExtractOptions(
                    inputs=(str(corpus),),
                    output=str(output),
                    questions=str(questions),
                    best_per="question",
                    max_windows=limit,
                    model=str(options.model),
                    precision=options.precision,
                    always_answer=True,
                )
            ).summary
            rows = {row["question_id"]: row for row in pq.read_table(output).to_pylist()}
            pairs = [(rows[one.id]["answer"], one.texts) for one in asked]
            right = np.mean([rows[one.id]["document_id"] == str(one.article) for one in asked])
            em, f1 = (100 * np.mean([best(name, *pair) for pair in pairs]) for name in ("exact_match", "f1"))
            print(
                f"--max-windows {limit:5s} EM {em:.1f}  F1 {f1:.1f}  right article {100 * right:.1f} %  "
                f"read {told['windows_read']:,} of {told['windows']:,}  {told['seconds']:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
