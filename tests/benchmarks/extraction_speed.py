"""Speed on this machine: extraction against one example at a time, windowing against one tokenizer call a pair.

    python tests/benchmarks/extraction_speed.py

Both sides use the same model in the same process and take turns. Start-up is left out on both.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import torch
from common import MODEL, Labelled, alternate, load, machine, report

from qatool.extraction.answering.setup import load_setup
from qatool.extraction.answering.shards import ShardLimits, cut_shards
from qatool.options import ExtractOptions
from qatool.schema import Example
from qatool.windows.build import build_windows
from qatool.windows.cut import WindowSize
from qatool.windows.tokenizer import PairTokenizer


def one_at_a_time(model_path: Path, examples: list[Labelled]) -> None:
    """Answer each example by itself: tokenizer call, forward pass, best span."""
    one_at_a_time_setup(model_path)
    tokenizer, model = _LOADED[model_path]
    with torch.inference_mode():
        for one in examples:
            encoded = tokenizer(
                one.question,
                one.context,
                truncation="only_second",
                max_length=384,
                stride=128,
                return_overflowing_tokens=True,
                return_offsets_mapping=True,
                padding=True,
                return_tensors="pt",
            )
            inputs = {name: encoded[name] for name in ("input_ids", "token_type_ids", "attention_mask")}
            output = model(**inputs)
            sums = output.start_logits[:, :, None] + output.end_logits[:, None, :]
            sums.triu().flatten(1).max(1)


_LOADED: dict[Path, tuple[object, object]] = {}


def one_at_a_time_setup(model_path: Path) -> None:
    """Load the plain transformers model once."""
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    if model_path not in _LOADED:
        _LOADED[model_path] = (
            AutoTokenizer.from_pretrained(model_path),
            AutoModelForQuestionAnswering.from_pretrained(model_path, dtype=torch.float32).eval(),
        )


def main() -> None:
    """Measure both pairs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--examples", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--windowing", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    print(f"{machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads")

    everything = load("squad1.1-dev-part-b.json")
    if options.windowing:
        windowing(options.model, everything, rounds=options.rounds)

    sample = random.Random(3).sample(everything, options.examples)
    setup = load_setup(
        ExtractOptions(inputs=("-",), output="-", model=str(options.model), precision="fp32", device="cpu")
    )
    rows = [Example(one.id, one.question, one.context, one.id) for one in sample]

    def ours() -> None:
        for shard in cut_shards(rows, ShardLimits(rows=512, context_bytes=1 << 20)):
            setup.extractor.answer(setup.extractor.prepare(shard))

    theirs = alternate(ours, lambda: one_at_a_time(options.model, sample), rounds=options.rounds)
    report("extraction, fp32, against one example at a time", *theirs, count=len(sample), unit="examples")


def windowing(model: Path, examples: list[Labelled], *, rounds: int) -> None:
    """Tokenise and cut all of SQuAD part B, against one tokenizer call a pair and one call for all pairs."""
    from transformers import AutoTokenizer

    tokenizer = PairTokenizer.load(str(model))
    plain = AutoTokenizer.from_pretrained(model)
    questions, contexts = [one.question for one in examples], [one.context for one in examples]
    size = WindowSize(max_length=384, stride=128, question_budget=64)
    keywords = {
        "truncation": "only_second",
        "max_length": 384,
        "stride": 128,
        "return_overflowing_tokens": True,
        "return_offsets_mapping": True,
    }

    def ours() -> None:
        build_windows(questions, contexts, tokenizer=tokenizer, size=size)

    def pair_by_pair() -> None:
        for question, context in zip(questions, contexts, strict=True):
            plain(question, context, **keywords)

    def all_pairs() -> None:
        plain(questions, contexts, **keywords)

    for name, theirs in (("one tokenizer call a pair", pair_by_pair), ("one call for all pairs", all_pairs)):
        times = alternate(ours, theirs, rounds=rounds)
        report(f"windowing against {name}", *times, count=len(examples), unit="examples")


if __name__ == "__main__":
    main()
