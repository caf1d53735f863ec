"""Long documents: reading all windows in every decoding, against reading only the most relevant ones.

    python tests/benchmarks/long_documents.py                        # whole articles of SQuAD 1.1 part B
    python tests/benchmarks/long_documents.py --source nq            # 40 paragraphs of Natural Questions joined
    python tests/benchmarks/long_documents.py --source tydiqa        # 40 passages of TyDi QA joined
    python tests/benchmarks/long_documents.py --source reddit        # 40 comments of SQuADShifts' Reddit joined
    python tests/benchmarks/long_documents.py --source part-a-dev    # the part that choices were made on
    python tests/benchmarks/long_documents.py --between line --auto  # a paragraph a line; only what auto makes of it

Prints EM, F1, the share of windows read and whether a window with a whole answer was among them; the difference in
F1 to each reference with a paired bootstrap interval; and the speed of ``auto`` against ``all``, taking turns.
The model reads each window once: its logits are kept and serve every decoding.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from common import MODEL, Labelled, alternate, data, load, machine, report, whole_articles

from qatool.extraction.answering.setup import load_setup
from qatool.extraction.answering.shards import ShardLimits, cut_shards
from qatool.options import ExtractOptions
from qatool.schema import Example
from qatool.squad import best

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

    from qatool.extraction.answering.extractor import Extractor
    from qatool.models.backend import Backend
    from qatool.windows.assemble import WindowBatch

LIMITS = ShardLimits(rows=64, context_bytes=1 << 22)


COUNTS = (1, 2, 3, 4, 5, 6, 8, 12)
BETWEEN = {"blank-line": "\n\n", "line": "\n ", "space": "  "}
"""What stands between the paragraphs of a document; all of one length, so that answers stay where they are."""
SINGLE = {"tydiqa": "tydiqa-en-dev.json", "reddit": "squadshifts-reddit.json"}
"""Files whose paragraphs belong to no articles: any may be joined."""


class RememberingBackend:
    """Runs a backend once for each distinct window and keeps its logits."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._known: dict[bytes, tuple[Tensor, Tensor]] = {}
        self.name, self.device, self.precision = backend.name, backend.device, backend.precision
        self.max_length, self.batch_tokens = backend.max_length, backend.batch_tokens
        self.streams = backend.streams

    def logits(self, batch: WindowBatch) -> tuple[Tensor, Tensor]:
        """Return start and end logits, each ``(b, t)``."""
        keys = [row[:length].tobytes() for row, length in zip(batch.input_ids, batch.lengths, strict=True)]
        if any(key not in self._known for key in keys):
            start, end = self._backend.logits(batch)
            for row, (key, length) in enumerate(zip(keys, batch.lengths, strict=True)):
                self._known[key] = start[row, :length].clone(), end[row, :length].clone()
        known = [self._known[key] for key in keys]
        padded = [torch.nn.utils.rnn.pad_sequence(list(side), batch_first=True) for side in zip(*known, strict=True)]
        return padded[0], padded[1]


def natural_questions() -> list[Labelled]:
    """Return the short-answer examples of Natural Questions, each asked of its paragraph."""
    examples = []
    for line in data("nq-short-train.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        answers = tuple(zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True))
        texts = {name: row[name] for name in ("id", "question", "context")}
        examples.append(Labelled(**texts, answers=answers, article=0, paragraph=0))
    return examples


def joined(rows: list[Labelled], *, sample: int, paragraphs: int, seed: int = 7) -> list[Labelled]:
    """Return ``sample`` examples, each asked of its paragraph hidden among others, blank lines between."""
    dice = random.Random(seed)
    dice.shuffle(rows)
    examples = []
    for row in rows[:sample]:
        others = [other.context for other in dice.sample(rows, paragraphs) if other.context != row.context]
        place = dice.randrange(len(others))
        texts = [*others[:place], row.context, *others[place:]]
        before = sum(len(text) + 2 for text in texts[:place])
        moved = tuple((text, start + before) for text, start in row.answers)
        examples.append(replace(row, context="\n\n".join(texts), answers=moved, article=0, paragraph=place))
    return examples


def answer(extractor: Extractor, examples: list[Labelled]) -> list[dict[str, Any]]:
    """Answer all examples; return rows."""
    rows = [Example(one.id, one.question, one.context, one.id) for one in examples]
    tables: list[pa.Table] = [extractor.answer(extractor.prepare(s)).table for s in cut_shards(rows, LIMITS)]
    return [row for table in tables for row in table.to_pylist()]


def answer_read(extractor: Extractor, examples: list[Labelled]) -> float:
    """Return the share of examples one of whose read windows holds a whole answer."""
    hits = 0
    rows = [Example(one.id, one.question, one.context, one.id) for one in examples]
    first = 0
    for shard in cut_shards(rows, LIMITS):
        windowed = extractor.prepare(shard).examples
        windows, offsets = windowed.windows, windowed.contexts.offset_mapping
        assert offsets is not None
        everything = np.arange(len(windows))
        start = offsets[windowed.context_token(everything, np.zeros_like(everything)), 0]
        end = offsets[windowed.context_token(everything, windows.context_length - 1), 1]
        for pair, one in enumerate(examples[first : first + len(shard.examples)]):
            rows_of = slice(windows.boundaries[pair], windows.boundaries[pair + 1])
            hits += any(
                ((start[rows_of] <= begin) & (end[rows_of] >= begin + len(text))).any() for text, begin in one.answers
            )
        first += len(shard.examples)
    return hits / len(examples)


def interval(a: np.ndarray, b: np.ndarray, *, rounds: int = 10_000) -> str:
    """Return the mean difference a - b with its 95 % interval, by paired bootstrap."""
    difference = a - b
    dice = np.random.default_rng(0)
    means = difference[dice.integers(0, len(a), (rounds, len(a)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return f"{100 * difference.mean():+.1f} F1 [{100 * low:+.1f}, {100 * high:+.1f}]"


def draw(points: dict[str, tuple[float, float, float]], path: Path, *, title: str) -> None:
    """Draw the curves as SVG.

    :param points: F1, share of windows read and of answers read, each in per cent, by name
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    read = [points[f"native, {count} windows"] for count in COUNTS]
    with rc_context({"svg.hashsalt": "qatool", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(7.2, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.plot(COUNTS, [one[0] for one in read], marker="o", color="#1f5fa8", label="native, K windows")
        for name, colour in (
            ("native, auto windows", "#2b8a3e"),
            ("native, all windows", "#1f5fa8"),
            ("hf-pipeline", "#b0651c"),
            ("squad-script", "#777777"),
        ):
            label = "auto: passages" if "auto" in name else name
            left.axhline(points[name][0], linestyle="--", color=colour, linewidth=1, label=label)
        left.set_xlabel("windows read (K)")
        left.set_ylabel("F1")
        left.legend(loc="lower right", fontsize=7)
        right.plot(COUNTS, [one[2] for one in read], marker="o", color="#1f5fa8", label="answer in a window read")
        right.plot(COUNTS, [one[1] for one in read], marker="s", color="#b0651c", label="windows read")
        right.set_xlabel("windows read (K)")
        right.set_ylabel("per cent")
        right.set_ylim(0, 100)
        right.legend(loc="center right", fontsize=8)
        figure.suptitle(title, fontsize=9)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def main() -> None:
    """Measure quality in one pass over the windows, then speed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument(
        "--source", choices=["part-b", "part-a-dev", "new-wikipedia", "nq", "tydiqa", "reddit"], default="part-b"
    )
    parser.add_argument(
        "--paragraphs", type=int, default=40, help="how many are joined, where a source has no articles"
    )
    parser.add_argument("--between", choices=list(BETWEEN), default="blank-line", help="what parts paragraphs")
    parser.add_argument("--auto", action="store_true", help="answer with auto alone, and take no times")
    parser.add_argument(
        "--known",
        type=Path,
        help="F1 a question, by setting: what stands there is not measured again, the rest added",
    )
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--sample", type=int, default=300)
    parser.add_argument("--figure", type=Path, help="draw F1 and the answers read against the windows read")
    parser.add_argument("--timed", type=int, default=24, help="questions answered for the speed")
    options = parser.parse_args()
    if options.source == "nq":
        examples = joined(natural_questions(), sample=options.sample, paragraphs=options.paragraphs)
    elif options.source in SINGLE:
        examples = joined(load(SINGLE[options.source]), sample=options.sample, paragraphs=options.paragraphs)
    else:
        name = "squadshifts-new-wikipedia" if options.source == "new-wikipedia" else f"squad1.1-dev-{options.source}"
        examples = whole_articles(f"{name}.json", sample=options.sample)
    examples = [replace(one, context=one.context.replace("\n\n", BETWEEN[options.between])) for one in examples]
    how = f"{options.backend}, {options.precision}, paragraphs parted by a {options.between}"
    print(f"{machine()}; {options.source}, {len(examples)} questions; {options.model.name}, {how}")

    def extractor(**chosen: Any) -> Extractor:
        chosen = {"backend": options.backend, "precision": options.precision, "always_answer": True, **chosen}
        asked = ExtractOptions(inputs=("-",), output="-", model=str(options.model), **chosen)
        return load_setup(asked).extractor

    backend = RememberingBackend(extractor().backend)
    f1: dict[str, np.ndarray] = {}
    points: dict[str, tuple[float, float, float]] = {}
    settings: list[dict[str, Any]] = [{"decode": "hf-pipeline"}, {"decode": "squad-script"}]
    settings += [{"max_windows": str(limit)} for limit in ("all", *COUNTS)]
    settings = [*([] if options.auto else settings), {"max_windows": "auto"}]
    if options.known and options.known.exists():
        f1 = {name: np.array(found) for name, found in json.loads(options.known.read_text()).items()}
        f1.pop("native, auto windows", None)
    for chosen in settings:
        one = replace(extractor(**chosen), backend=backend)
        name = chosen.get("decode") or f"native, {chosen['max_windows']} windows"
        if name in f1:
            continue
        rows = answer(one, examples)
        pairs = [(row["answer"], example.texts) for row, example in zip(rows, examples, strict=True)]
        f1[name] = np.array([best("f1", *pair) for pair in pairs])
        em = np.mean([best("exact_match", *pair) for pair in pairs])
        read = sum(row["n_windows_read"] for row in rows) / sum(row["n_windows"] for row in rows)
        hit = answer_read(one, examples)
        figures = f"EM {100 * em:.1f}  F1 {100 * f1[name].mean():.1f}  read {100 * read:.1f} %"
        print(f"{name:24s} {figures}  answer read {100 * hit:.1f} %", flush=True)
        points[name] = (100 * f1[name].mean(), 100 * read, 100 * hit)
    if options.known:
        options.known.write_text(json.dumps({name: found.tolist() for name, found in f1.items()}))
    if options.figure and set(points) == set(f1):
        draw(points, options.figure, title=f"{options.source}, {len(examples)} questions")
    for reference in sorted({"hf-pipeline", "squad-script", "native, all windows"} & f1.keys()):
        print(f"auto against {reference}: {interval(f1['native, auto windows'], f1[reference])}")
    if options.auto:
        return
    everything, few = extractor(max_windows="all"), extractor(max_windows="auto")
    timed = examples[: options.timed]
    times = alternate(lambda: answer(few, timed), lambda: answer(everything, timed), rounds=3)
    report(f"auto against all, {options.precision}", *times, count=len(timed), unit="examples")


if __name__ == "__main__":
    main()
