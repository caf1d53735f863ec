"""A list of questions asked of every document of a collection, and the best answer to each: ``--best-per question``.

    python tests/benchmarks/across_documents.py [--model DIR] [--questions 60] [--precision bf16]
    python tests/benchmarks/across_documents.py --documents paragraphs --most 5 20 50

Questions of SQuAD 1.1 part B, each asked of all 16 whole articles, of which one holds its answer; or of every
paragraph of part B and of the 44 articles of the training set. Prints EM and F1 of the best answer, how often it
comes from the right document, the windows read and the time, for each ``--max-windows`` and ``--max-documents``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
from common import MODEL, load, machine, whole_articles

from qatool.commands.extract import run
from qatool.options import ExtractOptions
from qatool.squad import best

if TYPE_CHECKING:
    from common import Labelled

SOURCE = "squad1.1-dev-part-b.json"
OTHERS = "squad1.1-train-44-articles.json"
LIMITS = ("auto", "5", "all")


def articles(sample: int) -> tuple[list[Labelled], dict[str, str], dict[str, str]]:
    """Return questions, whole articles by id, and the id of the article that each question is of, by its own."""
    asked = whole_articles(SOURCE, sample=sample)
    every = whole_articles(SOURCE, sample=len(load(SOURCE)))
    return asked, {str(one.article): one.context for one in every}, {one.id: str(one.article) for one in asked}


def paragraphs(sample: int) -> tuple[list[Labelled], dict[str, str], dict[str, str]]:
    """Return the same of single paragraphs, among those of other articles."""
    texts = list(dict.fromkeys(one.context for name in (SOURCE, OTHERS) for one in load(name)))
    names = {text: str(number) for number, text in enumerate(texts)}
    asked = whole_articles(SOURCE, sample=sample)
    own = {one.id: names[one.context] for one in load(SOURCE)}
    return asked, {name: text for text, name in names.items()}, own


def main() -> None:
    """Answer the same questions once for each limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--documents", choices=("articles", "paragraphs"), default="articles")
    parser.add_argument("--limits", nargs="*", default=LIMITS, help="--max-windows to try")
    parser.add_argument("--most", nargs="*", type=int, help="--max-documents to try; none: all documents")
    options = parser.parse_args()
    asked, documents, own = (articles if options.documents == "articles" else paragraphs)(options.questions)
    print(f"{machine()}; {len(asked)} questions, {len(documents)} {options.documents}; {options.precision}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus, questions = folder / "documents.jsonl", folder / "questions.jsonl"
        corpus.write_text("".join(json.dumps({"id": n, "context": text}) + "\n" for n, text in documents.items()))
        questions.write_text("".join(json.dumps({"id": one.id, "question": one.question}) + "\n" for one in asked))
        for limit, most in [(limit, most) for limit in options.limits for most in options.most or [None]]:
            output = folder / f"{limit}-{most}.parquet"
            began = time.monotonic()
            told = run(
                ExtractOptions(
                    inputs=(str(corpus),),
                    output=str(output),
                    questions=str(questions),
                    best_per="question",
                    max_windows=limit,
                    max_documents=most,
                    model=str(options.model),
                    precision=options.precision,
                    always_answer=True,
                )
            ).summary
            seconds = time.monotonic() - began
            rows = {row["question_id"]: row for row in pq.read_table(output).to_pylist()}
            pairs = [(rows[one.id]["answer"], one.texts) for one in asked]
            right = np.mean([rows[one.id]["document_id"] == own[one.id] for one in asked])
            em, f1 = (100 * np.mean([best(name, *pair) for pair in pairs]) for name in ("exact_match", "f1"))
            print(
                f"--max-windows {limit:5s} --max-documents {most or 'all':5} EM {em:.1f}  F1 {f1:.1f}  "
                f"right document {100 * right:.1f} %  read {told['windows_read']:,} of {told['windows']:,}  "
                f"{seconds:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
