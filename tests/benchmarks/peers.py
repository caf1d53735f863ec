"""Extraction on this CPU against the transformers 4.57.6 pipeline, Haystack 2.18 and a run_qa-style predict loop.

    python tests/benchmarks/peers.py

Environments for the two peers are made on first use (``--environments``, some gigabytes). Every program answers the
same questions with the same model, in a process of its own; they take turns. Start-up and loading count for none;
qatool's time is that of the whole job otherwise, from Parquet to Parquet. The machine's rate of matrix products is
measured in between.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from common import MODEL, Labelled, load, machine

from qatool.commands.extract import run
from qatool.models.arithmetic import matmul_rate, window_flops
from qatool.models.companions import load_config
from qatool.options import ExtractOptions
from qatool.windows.build import build_windows
from qatool.windows.cut import WindowSize
from qatool.windows.tokenizer import PairTokenizer

TORCH = "torch==2.13.0"
ENVIRONMENTS = {
    "pipeline": [TORCH, "transformers==4.57.6"],
    "haystack": [TORCH, "transformers==4.57.6", "haystack-ai==2.18.*", "accelerate"],
}
"""What is installed into each."""

READING = """\
import json, sys, time
rows = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
"""
TURNS = """\
print("ready", flush=True)
for line in sys.stdin:
    began = time.perf_counter()
    answers = answer()
    print(json.dumps([time.perf_counter() - began, answers]), flush=True)
"""
PIPELINE = """\
import torch
from transformers import pipeline
reader = pipeline("question-answering", model=sys.argv[2], torch_dtype=torch.float32, device="cpu")
size = int(sys.argv[3])
def answer():
    found = reader([{"question": row["question"], "context": row["context"]} for row in rows], batch_size=size)
    return [one["answer"] for one in found]
"""
HAYSTACK = """\
import torch
from haystack import Document
from haystack.components.readers import ExtractiveReader
from haystack.utils import ComponentDevice
reader = ExtractiveReader(model=sys.argv[2], device=ComponentDevice.from_str("cpu"), no_answer=False,
                          model_kwargs={"torch_dtype": torch.float32})
reader.warm_up()
def answer():
    found = []
    for row in rows:
        answers = reader.run(query=row["question"], documents=[Document(content=row["context"])], top_k=1)["answers"]
        found.append(answers[0].data if answers else None)
    return found
"""
PREDICT_LOOP = """\
import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForQuestionAnswering, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[2])
model = AutoModelForQuestionAnswering.from_pretrained(sys.argv[2], dtype=torch.float32).eval()
def answer():
    encoded = tokenizer([row["question"] for row in rows], [row["context"] for row in rows], truncation="only_second",
                        max_length=384, stride=128, return_overflowing_tokens=True, return_offsets_mapping=True,
                        padding="max_length")
    owner, offsets = encoded.pop("overflow_to_sample_mapping"), encoded.pop("offset_mapping")
    features = [{name: values[i] for name, values in encoded.items()} for i in range(len(owner))]
    collate = lambda batch: {name: torch.tensor([one[name] for one in batch]) for name in batch[0]}
    best = [(-1e9, None)] * len(rows)
    index = 0
    with torch.inference_mode():
        for batch in DataLoader(features, batch_size=8, collate_fn=collate):
            output = model(**batch)
            for start, end in zip(output.start_logits.numpy(), output.end_logits.numpy()):
                context = [kind == 1 for kind in encoded.sequence_ids(index)]
                starts = [i for i in start.argsort()[-1:-21:-1].tolist() if context[i]]
                ends = [i for i in end.argsort()[-1:-21:-1].tolist() if context[i]]
                for s in starts:
                    for e in ends:
                        if s <= e < s + 30 and start[s] + end[e] > best[owner[index]][0]:
                            text = rows[owner[index]]["context"][offsets[index][s][0]:offsets[index][e][1]]
                            best[owner[index]] = (float(start[s] + end[e]), text)
                index += 1
    return [text for _, text in best]
"""


def environment(name: str, folder: Path) -> Path:
    """Return the Python of a peer's environment, made if it is missing."""
    python = folder / name / "bin" / "python"
    seal = folder / name / "installed.json"
    if not seal.exists() or json.loads(seal.read_text()) != ENVIRONMENTS[name]:
        print(f"making {folder / name}: {', '.join(ENVIRONMENTS[name])}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder / name)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *ENVIRONMENTS[name]], check=True)
        seal.write_text(json.dumps(ENVIRONMENTS[name]))
    return python


class Peer:
    """A program in a process of its own that answers all questions whenever it is told to."""

    def __init__(self, stack: ExitStack, python: Path, code: str, *words: object) -> None:
        command = [str(python), "-W", "ignore", "-c", READING + code + TURNS, *map(str, words)]
        offline = os.environ | {"HF_HUB_OFFLINE": "1", "HAYSTACK_TELEMETRY_ENABLED": "False"}
        self._process = stack.enter_context(
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=offline,
            )
        )
        stack.callback(self._process.kill)
        if self._line() != "ready":
            sys.exit(f"a peer did not start: {' '.join(command[:1])} {words}")

    def __call__(self) -> tuple[float, list[str | None]]:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        seconds, answers = json.loads(self._line())
        return seconds, answers

    def _line(self) -> str:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.startswith(("ready", "[")):
                return line.strip()
        return ""


class Ours:
    """``qatool extract``, whole, in this process; its own account of the seconds after loading."""

    def __init__(self, folder: Path, corpus: Path, *, model: Path, **options: object) -> None:
        self._options = ExtractOptions(
            inputs=(str(corpus),),
            output=str(folder / "answers.parquet"),
            model=str(model),
            always_answer=True,
            quiet=True,
            **options,
        )

    def __call__(self) -> tuple[float, list[str | None]]:
        told = run(self._options).summary
        return told["seconds"], pq.read_table(self._options.output)["answer"].to_pylist()


def flops(examples: list[Labelled], model: Path) -> float:
    """Return the operations that the windows of all examples take."""
    windows = build_windows(
        [one.question for one in examples],
        [one.context for one in examples],
        tokenizer=PairTokenizer.load(str(model)),
        size=WindowSize(max_length=384, stride=128, question_budget=64),
    )
    config = load_config(str(model))
    return sum(window_flops(config, length) or 0.0 for length in windows.lengths.tolist())


def main() -> None:
    """Take turns and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--int8", type=Path, help="the same model, exported with --int8")
    parser.add_argument("--examples", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", metavar="PROGRAM", help="as the table names them; besides torch, fp32")
    parser.add_argument("--environments", type=Path, default=Path.home() / ".cache" / "qatool" / "peers")
    options = parser.parse_args()
    print(f"{machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    examples = random.Random(5).sample(load("squad1.1-dev-part-b.json"), options.examples)
    pythons = {name: environment(name, options.environments) for name in ENVIRONMENTS}
    work = flops(examples, options.model)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        rows = [{"id": one.id, "question": one.question, "context": one.context} for one in examples]
        lines, corpus = folder / "corpus.jsonl", folder / "corpus.parquet"
        lines.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        pq.write_table(pa.Table.from_pylist(rows), corpus)
        ours = {
            f"{backend}, {precision}": Ours(folder, corpus, model=options.model, backend=backend, precision=precision)
            for backend in ("torch", "openvino")
            for precision in ("fp32", "bf16")
        }
        if options.int8 is not None:
            ours["openvino, int8"] = Ours(folder, corpus, model=options.int8)
        peers = {
            "pipeline, batch 1": (pythons["pipeline"], PIPELINE, lines, options.model, 1),
            "pipeline, batch 8": (pythons["pipeline"], PIPELINE, lines, options.model, 8),
            "haystack": (pythons["haystack"], HAYSTACK, lines, options.model),
            "predict loop": (Path(sys.executable), PREDICT_LOOP, lines, options.model),
        }
        wanted = ["torch, fp32", *(options.only or [*ours, *peers])]
        ours = {name: side for name, side in ours.items() if name in wanted}
        sides = ours | {name: Peer(stack, *words) for name, words in peers.items() if name in wanted}
        times: dict[str, list[float]] = {name: [] for name in sides}
        rates: dict[str, list[float]] = {"fp32": [], "bf16": []}
        answers: dict[str, list[str | None]] = {}
        for number in range(options.rounds + 1):
            for name, side in sides.items():
                seconds, answers[name] = side()
                if number:
                    times[name].append(seconds)
            if number:
                for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
                    rates[name].append(
                        matmul_rate(torch.device("cpu"), kind, threads=torch.get_num_threads(), seconds=1.5)
                    )
            print(f"round {number} of {options.rounds}", flush=True)
    tell(times, rates, answers, ours=list(ours), work=work, count=len(examples))


def tell(
    times: dict[str, list[float]],
    rates: dict[str, list[float]],
    answers: dict[str, list[str | None]],
    *,
    ours: list[str],
    work: float,
    count: int,
) -> None:
    """Print a line a program."""
    peers = [name for name in times if name not in ours]
    medians = {name: statistics.median(found) for name, found in rates.items()}
    print("matrix products, GFLOP/s:", ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in medians.items()))
    print(
        f"{'':20}{'examples/s':>11}{'of matmul':>11}{'= torch fp32':>14}" + "".join(f"{'/ ' + p:>20}" for p in peers)
    )
    for name, seconds in times.items():
        median = statistics.median(seconds)
        peak = medians.get(name.rpartition(", ")[2])
        share = f"{work / median / peak:.0%}" if peak else ""
        same = sum(a == b for a, b in zip(answers[name], answers["torch, fp32"], strict=True)) / count
        ratios = [
            statistics.median(theirs / mine for theirs, mine in zip(times[peer], seconds, strict=True))
            for peer in peers
        ]
        columns = "".join(f"{ratio:>20.2f}" for ratio in ratios) if name in ours else ""
        print(f"{name:20}{count / median:>11.1f}{share:>11}{same:>14.1%}{columns}")


if __name__ == "__main__":
    main()
