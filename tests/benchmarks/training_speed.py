"""Speed of training: ``qatool finetune`` against the loop of the usual notebook, in turn, same model and step size.

    python tests/benchmarks/training_speed.py --base MINILM_FOLDER

The notebook's loop: every window padded to 400 tokens (``stride`` 100), ``default_data_collator``, 32 windows a step,
AdamW, clipping, linear schedule. Each side runs in a process of its own and times its optimiser steps only, so that
neither start-up nor preparation nor validation counts. Windows differ in number (400 tokens here, 384 there), so the
figure is examples a second. ``--quality`` trains both on all of part A-train instead, once, and evaluates them.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import data, machine

TRAIN = "squad1.1-dev-part-a-train.json"
DEV = "squad1.1-dev-part-a-dev.json"
QATOOL = [sys.executable, "-m", "qatool"]


def notebook(base: str, train: Path, output: Path, *, limit: int | None, precision: str, rate: float) -> None:
    """Train as the notebook does; print the windows, the examples and the seconds of the steps as JSON."""
    import torch
    from torch.utils.data import DataLoader
    from transformers import (
        AutoModelForQuestionAnswering,
        AutoTokenizer,
        default_data_collator,
        get_linear_schedule_with_warmup,
    )

    rows = [json.loads(line) for line in train.read_text(encoding="utf-8").splitlines()][:limit]
    tokenizer = AutoTokenizer.from_pretrained(base)
    encoded = tokenizer(
        [row["question"].strip() for row in rows],
        [row["context"] for row in rows],
        truncation="only_second",
        max_length=400,
        stride=100,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        padding="max_length",
    )
    features = []
    for i, sample in enumerate(encoded["overflow_to_sample_mapping"]):
        start, end = _labels(encoded, i, rows[sample]["answers"])
        feature = {name: encoded[name][i] for name in ("input_ids", "token_type_ids", "attention_mask")}
        features.append({**feature, "start_positions": start, "end_positions": end})
    torch.manual_seed(0)
    model = AutoModelForQuestionAnswering.from_pretrained(base, dtype=torch.float32).train()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)
    loader = DataLoader(features, batch_size=32, shuffle=True, collate_fn=default_data_collator)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    schedule = get_linear_schedule_with_warmup(optimizer, 0, len(loader))
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    began = time.perf_counter()
    for batch in loader:
        with torch.autocast(device, half or torch.float32, enabled=half is not None):
            loss = model(**{name: value.to(device) for name, value in batch.items()}).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        loss.item()
    seconds = time.perf_counter() - began
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    print(json.dumps({"windows": len(features), "examples": len(rows), "seconds": seconds}))


def _labels(encoded: object, i: int, answers: dict[str, list]) -> tuple[int, int]:
    """Return the token span of the first answer, the first token where the window does not hold it."""
    if not answers["text"]:
        return 0, 0
    first, last = answers["answer_start"][0], answers["answer_start"][0] + len(answers["text"][0])
    context = [place for place, part in enumerate(encoded.sequence_ids(i)) if part == 1]
    offsets = encoded["offset_mapping"][i]
    if offsets[context[0]][0] > first or offsets[context[-1]][1] < last:
        return 0, 0
    start = max(place for place in context if offsets[place][0] <= first)
    return start, min(place for place in context if offsets[place][1] >= last)


def ours(base: str, train: Path, output: Path, *, limit: int | None, precision: str, rate: float) -> dict[str, float]:
    """Train with ``qatool finetune``; return the examples and the seconds of the steps."""
    more = [] if limit is None else ["--limit", str(limit)]
    words = ["finetune", str(train), "-o", str(output), "--model", base, "-q", "--precision", precision]
    words += ["--learning-rate", str(rate), "--warmup", "0", *more]
    subprocess.run([*QATOOL, *words], check=True)
    with (output / "metrics.csv").open() as stream:
        lines = [line for line in csv.DictReader(stream) if line["windows_per_second"]]
    steps = [int(line["step"]) for line in lines]
    counts = [step - before for step, before in zip(steps, [0, *steps], strict=False)]
    seconds = sum(32 * n / float(line["windows_per_second"]) for n, line in zip(counts, lines, strict=True))
    rows = sum(1 for _ in train.open(encoding="utf-8"))
    return {"examples": min(rows, limit or rows), "seconds": seconds}


def theirs(
    base: str, train: Path, output: Path, *, limit: int | None, precision: str, rate: float
) -> dict[str, float]:
    """Run :func:`notebook` in a process of its own."""
    words = [sys.executable, __file__, "--base", base, "--precision", precision, "--rate", str(rate)]
    words += ["--notebook", str(train), str(output), *([] if limit is None else ["--limit", str(limit)])]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def f1_of(model: Path, folder: Path) -> float:
    """Return F1 on part A-dev, always answering."""
    answers = folder / "answers.parquet"
    words = ["extract", str(data(DEV)), "-o", str(answers), "--model", str(model), "-q", "--always-answer"]
    subprocess.run([*QATOOL, *words], check=True)
    done = subprocess.run(
        [*QATOOL, "evaluate", str(answers), "--references", str(data(DEV)), "--json", "--resamples", "100"],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(json.loads(done.stdout)["f1"])


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--quality", action="store_true")
    parser.add_argument("--notebook", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    chosen = {"limit": options.limit, "precision": options.precision, "rate": options.rate}
    if options.notebook:
        notebook(options.base, *options.notebook, **chosen)
        return
    print(machine())
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        train = folder / "train.jsonl"
        with train.open("w", encoding="utf-8") as stream:
            for article in json.loads(data(TRAIN).read_text(encoding="utf-8"))["data"]:
                for paragraph in article["paragraphs"]:
                    for qa in paragraph["qas"]:
                        answers = {name: [one[name] for one in qa["answers"]] for name in ("text", "answer_start")}
                        row = {"id": qa["id"], "question": qa["question"], "context": paragraph["context"]}
                        stream.write(json.dumps({**row, "answers": answers}) + "\n")
        if options.quality:
            for name, side in (("qatool finetune", ours), ("notebook loop", theirs)):
                took = side(options.base, train, folder / name.split()[0], **chosen)
                f1 = f1_of(folder / name.split()[0], folder)
                speed = took["examples"] / took["seconds"]
                print(f"{name}: {speed:.1f} examples/s, F1 {f1:.2f} on A-dev", flush=True)
            return
        chosen["limit"] = options.limit or 640
        rates: tuple[list[float], list[float]] = ([], [])
        for number in range(options.rounds):
            for found, side in zip(rates, (ours, theirs), strict=True):
                took = side(options.base, train, folder / f"{side.__name__}-{number}", **chosen)
                found.append(took["examples"] / took["seconds"])
        ratio = statistics.median(a / b for a, b in zip(*rates, strict=True))
        medians = [statistics.median(found) for found in rates]
        print(f"{medians[0]:.1f} against {medians[1]:.1f} examples/s: {ratio:.2f} times (median of {options.rounds})")


if __name__ == "__main__":
    main()
