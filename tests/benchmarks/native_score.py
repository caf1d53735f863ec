"""How native scores were chosen: candidate formulas on part A-dev, paragraphs and whole articles.

    python tests/benchmarks/native_score.py

Every formula ranks the same spans, those found in each window by the reference model. EM and F1 are of the best
span of the answerable questions; AUC says how well the formula's value tells right answers (EM) from wrong ones
across examples; on SQuAD 2.0 the last column is the best F1 that any threshold on a no-answer score reaches.
"""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

import numpy as np
from common import MODEL, Labelled, load, machine, whole_articles
from numpy.typing import NDArray

from qatool.extraction.answering.windowreader import WindowReader
from qatool.models.pytorch.torch_backend import TorchBackend
from qatool.spans.candidates import Candidates, top_k_of_each
from qatool.spans.characters import ContextCharacters
from qatool.spans.search import SpanSearch
from qatool.squad import best
from qatool.windows.build import build_windows
from qatool.windows.cut import WindowSize
from qatool.windows.ragged import offsets_of
from qatool.windows.tokenizer import PairTokenizer

Floats = NDArray[np.float64]


def auc(score: Floats, right: NDArray[np.bool_]) -> float:
    """Return the chance that a right answer scores above a wrong one."""
    rank = np.argsort(np.argsort(score))
    n_right, n_wrong = int(right.sum()), int((~right).sum())
    return (rank[right].sum() - n_right * (n_right - 1) / 2) / (n_right * n_wrong)


def best_threshold_f1(no_answer: Floats, f1: Floats, answerable: NDArray[np.bool_]) -> float:
    """Return the best F1 over all thresholds on ``no_answer``."""
    order = np.argsort(no_answer)
    gained = np.concatenate([[0.0], np.cumsum(np.where(answerable, f1, 0)[order])])
    refused = (~answerable).sum() - np.concatenate([[0], np.cumsum(~answerable[order])])
    return float((gained + refused).max() / len(f1))


def measure(name: str, examples: list[Labelled], tokenizer: PairTokenizer, backend: TorchBackend) -> None:
    """Print the table of one set of examples."""
    windowed = build_windows(
        [one.question for one in examples],
        [one.context for one in examples],
        tokenizer=tokenizer,
        size=WindowSize(max_length=384, stride=128, question_budget=64),
    )
    characters = ContextCharacters.of(windowed.contexts)
    reader = WindowReader(
        backend=backend,
        search=SpanSearch(top_k=5, max_answer_length=30),
        batch_tokens=backend.batch_tokens,
    )
    with closing(reader):
        spans, _ = reader.read(windowed, characters)
    found = Candidates.of(spans, windowed)
    start, end = characters.start[found.first_token], characters.end[found.last_token]
    sample, n = windowed.windows.overflow_to_sample_mapping, len(examples)
    null, mass = spans.null_logit.astype(float), spans.span_mass.astype(float)
    logit, row = found.span_logit.astype(float), found.row
    total = np.zeros(n)
    np.logaddexp.at(total, sample, mass - null)
    top = np.full(n, -np.inf)
    np.maximum.at(top, sample, mass - null)
    margin = logit - null[row]
    formulas = {
        "span logit": logit,
        "margin over the window's null": margin,
        "probability in its window, null in the denominator": np.exp(logit - np.logaddexp(mass, null)[row]),
        "probability in its window, no null": np.exp(logit - mass[row]),
        "start x end probability (pipeline)": np.exp(logit - (spans.start_mass + spans.end_mass)[row]),
        "joint over all windows and no answer (native)": np.exp(margin - total[found.example]),
    }
    no_answer = {
        "1 - window": 1 - np.exp(logit - np.logaddexp(mass, null)[row]),
        "joint": np.exp(-total),
        "least null over windows": -top,
    }
    references = [one.texts for one in examples]
    answerable = np.array([bool(texts) for texts in references])
    print(f"\n{name}: {n} questions, {len(sample)} windows")
    for formula, value in formulas.items():
        chosen, boundaries = top_k_of_each(found.example, value, start, end, n_examples=n, top_k=1)
        assert (boundaries == offsets_of(np.ones(n, dtype=np.int64))).all()
        answers = [one.context[start[i] : end[i]] for one, i in zip(examples, chosen, strict=True)]
        scored = list(zip(answers, references, strict=True))
        em = np.array([bool(texts) and best("exact_match", text, texts) for text, texts in scored], dtype=float)
        f1 = np.array([bool(texts) and best("f1", text, texts) for text, texts in scored], dtype=float)
        line = f"{formula:52s} EM {100 * em[answerable].mean():5.2f}  F1 {100 * f1[answerable].mean():5.2f}"
        line += f"  AUC {auc(value[chosen], em > 0):.3f}"
        if not answerable.all():
            for kind, score in no_answer.items():
                by_example = score if len(score) == n else score[chosen]
                line += f"  {kind} {100 * best_threshold_f1(by_example, f1, answerable):.2f}"
        print(line)


def main() -> None:
    """Measure paragraphs of both versions, and whole articles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--sample", type=int, default=150, help="questions asked of whole articles")
    options = parser.parse_args()
    tokenizer = PairTokenizer.load(str(options.model))
    backend = TorchBackend(str(options.model), device="auto", precision="fp32", tokenizer_limit=512)
    print(machine())
    measure("SQuAD 1.1, paragraphs", load("squad1.1-dev-part-a-dev.json"), tokenizer, backend)
    measure("SQuAD 2.0, paragraphs", load("squad2.0-dev-part-a-dev.json"), tokenizer, backend)
    articles = whole_articles("squad1.1-dev-part-a-dev.json", sample=options.sample)
    measure("SQuAD 1.1, whole articles", articles, tokenizer, backend)


if __name__ == "__main__":
    main()
