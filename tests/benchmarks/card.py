"""Everything that is to be known of qatool on a card, in one command: a JSON file and a table.

    python tests/benchmarks/card.py --output card.json
    python tests/benchmarks/card.py --device cpu --rehearse

First what the card can do (matrix products, copies), then extraction from Parquet to Parquet and each stage of it at
MiniLM's and distilroberta's size, the share of the matrix products' rate, how long the card is busy, the transformers
pipeline (or its loop, see ``card_peers.py``), training against the notebooks' loop, bf16 and fp16 against fp32, and
what must not go wrong: batches beyond the memory, a card in use by others, fp16 beyond its range. Models, tokenizers
and texts are made on the spot. A measurement that fails is noted, the others go on, and the exit code is 1.

Times are medians after a round that does not count; work of the card is timed by its own events.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import sys
import tempfile
import time
import traceback
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from card_inputs import REHEARSED, SIZES, Words, make_model, overflowing, write_corpus
from card_peers import notebook_training, pipeline, pipeline_is_there
from card_stages import busy_share, ceilings, read_rate, stage_rates, timed, watched

import qatool
from qatool.cli import look_less_for_garbage
from qatool.commands.extract import run
from qatool.models.arithmetic import window_flops
from qatool.models.companions import load_config, save_tokenizer
from qatool.models.pytorch.torch_backend import ModelInMemory
from qatool.options import ExtractOptions
from qatool.windows.build import build_windows
from qatool.windows.cut import WindowSize
from qatool.windows.tokenizer import PairTokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PARTS = ("ceilings", "extraction", "compiled", "stages", "busy", "peers", "precision", "memory", "steps", "training")
PAIRS_OF_WINDOWS = WindowSize(max_length=384, stride=128, question_budget=64)


class Measurements:
    """Takes all measurements of one model size after the other.

    :param folder: for models, corpora and outputs
    """

    def __init__(self, given: argparse.Namespace, folder: Path) -> None:
        self.given, self.folder = given, folder
        self.device = torch.device(given.device)
        self.precision = "bf16"
        self.told: dict[str, Any] = {"machine": machine(self.device), "rehearsal": given.rehearse, "sizes": {}}
        self.failed: list[str] = []

    def all(self) -> None:
        """Take them."""
        wanted = self.given.only or PARTS
        if "ceilings" in wanted:
            self._try(self.told, "ceilings", lambda: ceilings(self.device, small=self.given.rehearse))
        corpus = self.given.corpus or self.folder / "corpus.parquet"
        if corpus.exists():
            rows = pq.read_table(corpus).slice(0, self.given.examples).to_pylist()
        else:
            rows = write_corpus(corpus, Words(), self.given.examples)
        for name, size in (REHEARSED if self.given.rehearse else SIZES).items():
            if name not in self.given.sizes:
                continue
            texts = [row["context"] for row in rows[: 5_000 if self.given.rehearse else 50_000 : 5]]
            model = make_model(self.folder / name, size, texts)
            if self.given.tokenizer is not None and size.kind == "roberta":
                save_tokenizer(str(self.given.tokenizer), model, trust_remote_code=False)
            found = self.told["sizes"].setdefault(name, {})
            for part in PARTS[1:]:
                if part in wanted:
                    self._try(found, part, partial(getattr(self, f"_{part}"), model, corpus, rows))

    def _try(self, into: dict[str, Any], part: str, measure: Callable[[], Any]) -> None:
        print(f"{part} …", file=sys.stderr, flush=True)
        try:
            into[part] = measure()
        except Exception as error:  # noqa: BLE001  (the other measurements go on)
            traceback.print_exc()
            into[part] = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
            self.failed.append(part)
        # At once: what was measured is there even when a time limit ends the rest.
        self.given.output.write_text(json.dumps(self.told, indent=1) + "\n")

    def _extract(self, model: Path, corpus: Path, **options: Any) -> tuple[dict[str, Any], pa.Table]:
        """Run ``qatool extract``; return its summary, the seconds it took but for loading, and the answers."""
        output = self.folder / "answers.parquet"
        given: dict[str, Any] = {
            "precision": self.precision,
            "backend": "torch",
            "device": str(self.device),
        } | options
        began = time.perf_counter()
        with watched(self.device) as watch:
            told = run(
                ExtractOptions(
                    inputs=(str(corpus),),
                    output=str(output),
                    model=str(model),
                    restart=True,
                    quiet=True,
                    always_answer=True,
                    workers=self.given.workers,
                    **given,
                )
            ).summary
        ended, began = time.perf_counter(), began + told["load_seconds"]
        phases = watch.phases(began, ended) if watch.told else {}
        return {**told, "whole_seconds": ended - began, "phases": phases}, pq.read_table(output)

    def _extraction(self, model: Path, corpus: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Extraction from Parquet to Parquet: start-up and loading left out."""
        # In a rehearsal several shards, or no process would be needed.
        return self._rate(model, corpus, rows, **({"shard_rows": 20} if self.given.rehearse else {}))

    def _compiled(self, model: Path, corpus: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """The same with a compiled model; compiling left out."""
        return self._rate(model, corpus, rows, compile=self.device.type == "cuda")

    def _rate(self, model: Path, corpus: Path, rows: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
        work = flops(model, rows)
        self._extract(model, corpus, limit=min(len(rows), 20_000), **options)
        told = [self._extract(model, corpus, limit=len(rows), **options)[0] for _ in range(self.given.rounds)]
        seconds = statistics.median(one["whole_seconds"] for one in told)
        return {
            "seconds": seconds,
            "windows_per_second": told[0]["windows_read"] / seconds,
            "examples_per_second": len(rows) / seconds,
            "teraflops": work / seconds / 1e12,
            "share_of_matmul": self._share(work / seconds),
            "load_seconds": told[-1]["load_seconds"],
            "phases_seconds": told[-1]["phases"],
            "stages_seconds": told[-1]["stages_seconds"],
            "limits": told[-1]["limits"],
            "all_seconds": [one["whole_seconds"] for one in told],
        }

    def _share(self, rate: float) -> float | None:
        peak = self.told.get("ceilings", {}).get("matmul_teraflops", {}).get(self.precision)
        return None if peak is None else rate / 1e12 / peak

    def _stages(self, model: Path, corpus: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Each stage by itself."""
        few = rows[: min(len(rows), 8_192)]
        alone = stage_rates(model, few, device=self.device, precision=self.precision, share=self._share)
        return {"read_rows_per_second": read_rate(corpus, len(few)), **alone}

    def _busy(self, model: Path, corpus: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """How long the card computes, of the time between its first and its last kernel."""
        limit = min(len(rows), self.given.profiled)
        return busy_share(lambda: self._extract(model, corpus, limit=limit), self.device)

    def _peers(self, model: Path, corpus: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """The pipeline at its best batch size, in the precision that is faster for it."""
        few = rows[: self.given.peer_examples]
        rates: dict[str, float] = {}
        for kind in (torch.float16,) if self.device.type == "cuda" else (torch.float32,):
            answer = pipeline(model, self.device, kind)
            for batch_size in (4,) if self.given.rehearse else (1, 8, 32, 128):
                answer(few[: 2 * batch_size], batch_size)
                seconds = timed(lambda answer=answer, size=batch_size: answer(few, size), self.device)
                rates[f"{str(kind).removeprefix('torch.')}, batch {batch_size}"] = len(few) / seconds
        best = max(rates, key=rates.__getitem__)
        ours = self.told["sizes"][model.name].get("extraction", {}).get("examples_per_second")
        return {
            "program": "transformers pipeline" if pipeline_is_there() else "its loop, written from its behaviour",
            "examples_per_second": rates,
            "best": best,
            "ratio": None if ours is None else ours / rates[best],
        }

    def _precision(self, model: Path, corpus: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """How many answers are those of fp32. Random weights tell spans apart less well than trained ones."""
        model = self.given.model or model
        limit = min(len(rows), 5_000)
        kinds = ("fp32", "bf16") if self.device.type == "cpu" else ("fp32", "bf16", "fp16")
        answers = {kind: self._extract(model, corpus, precision=kind, limit=limit)[1] for kind in kinds}
        exact = answers["fp32"]["answer"].to_pylist()
        same = {
            kind: sum(a == b for a, b in zip(table["answer"].to_pylist(), exact, strict=True)) / len(exact)
            for kind, table in answers.items()
        }
        return {"model": "given" if self.given.model else "random weights", "same_answer_as_fp32": same}

    def _memory(self, model: Path, corpus: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """What must not go wrong: rows rejected in each case, and the share of answers that are the usual ones."""
        limit = min(len(rows), 20_000)
        usual = self._extract(model, corpus, limit=limit)[1]["answer"].to_pylist()

        def told(table: pa.Table) -> dict[str, Any]:
            answers = table["answer"].to_pylist()
            return {
                "rejected": len(table) - table["error"].null_count,
                "same": sum(a == b for a, b in zip(answers, usual, strict=True)) / len(usual),
            }

        found = {"absurd --batch-tokens": told(self._extract(model, corpus, limit=limit, batch_tokens=10**9)[1])}
        if self.device.type == "cuda":
            with half_full(self.device):
                found["card nearly full"] = told(self._extract(model, corpus, limit=limit)[1])
            large = overflowing(model, self.folder / f"{model.name}-overflowing")
            table = self._extract(large, corpus, limit=min(limit, 500), precision="fp16", on_error="skip")[1]
            found["fp16 beyond its range"] = {"rejected": len(table) - table["error"].null_count, "rows": len(table)}
        return found

    def _steps(self, model: Path, corpus: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """What a step of training takes: kernel by kernel, as graphs, compiled."""
        from card_training import WAYS, Steps

        sizes, repeats = ((4,), 1) if self.given.rehearse else ((32, 64, 128), 10)
        steps = Steps(model, device=self.device, batch_sizes=sizes, repeats=repeats)
        found = self.told["sizes"][model.name]["steps"] = dict[str, Any]()
        for way in WAYS:
            self._try(found, way, partial(steps.rates, way))
        return found

    def _training(self, model: Path, corpus: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """``qatool finetune`` against the notebooks' loop, steps only, both of the same number of windows a step."""
        from card_training import finetune_rate

        steps = 6 if self.given.rehearse else 300
        few = rows[: 64 if self.given.rehearse else 40 * steps]
        found: dict[str, Any] = {}
        for size in (8,) if self.given.rehearse else (8, 32):
            theirs = notebook_training(
                model,
                few[:2_000],
                device=self.device,
                batch_size=size,
                steps=steps,
                width=128 if self.given.rehearse else 400,
            )
            ours = finetune_rate(model, few, self.folder, device=self.device, batch_size=size)
            ratio = ours["windows_per_second"] / theirs["windows_per_second"]
            found[f"batch {size}"] = {"notebook": theirs, "qatool": ours, "ratio": ratio}
        return found


@contextmanager
def half_full(device: torch.device) -> Iterator[None]:
    """Hold all but 2 GiB of what is free on a card, as another program would."""
    # What earlier parts left in torch's cache counts as taken, and would be used nevertheless.
    gc.collect()
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(device)
    held = torch.empty(max(free - (2 << 30), 0), dtype=torch.uint8, device=device)
    try:
        yield
    finally:
        del held
        torch.cuda.empty_cache()


def flops(model: Path, rows: list[dict[str, Any]]) -> float:
    """Return the operations that the windows of all rows take, padding apart; from the first of them, if many."""
    few = rows[:40_000]
    windows = build_windows(
        [row["question"] for row in few],
        [row["context"] for row in few],
        tokenizer=PairTokenizer.load(str(model)),
        size=PAIRS_OF_WINDOWS,
    )
    config = load_config(str(model))
    return sum(window_flops(config, length) or 0.0 for length in windows.lengths.tolist()) * len(rows) / len(few)


def machine(device: torch.device) -> dict[str, Any]:
    """Describe where this runs."""
    about: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "qatool": qatool.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cores": len(os.sched_getaffinity(0)),
        "device": str(device),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        about |= {"card": properties.name, "memory": properties.total_memory, "cuda": torch.version.cuda}
    return about


def lines(told: Any, indent: int = 0) -> Iterator[str]:
    """Yield nested figures as lines that can be read."""
    for name, value in told.items():
        if isinstance(value, dict):
            yield f"{'':{indent}}{name}"
            yield from lines(value, indent + 2)
        else:
            shown = f"{value:,.4g}" if isinstance(value, float) else value
            yield f"{'':{indent}}{name:<{max(1, 40 - indent)}} {shown}"


def parsed(words: list[str] | None) -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes: whether the command works, no figures")
    parser.add_argument("--output", type=Path, default=Path("card.json"))
    parser.add_argument("--only", nargs="+", choices=PARTS)
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--examples", type=int, default=400_000)
    parser.add_argument("--peer-examples", type=int, default=2_000)
    parser.add_argument("--profiled", type=int, default=100_000, help="examples of the run that is profiled")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--corpus", type=Path, help="where the texts are kept for another time; made if missing")
    parser.add_argument("--tokenizer", type=Path, help="of roberta-base, in place of one made on the spot")
    parser.add_argument("--model", type=Path, help="trained, to compare precisions with")
    given = parser.parse_args(words)
    if given.rehearse:
        given.examples, given.peer_examples, given.profiled, given.rounds, given.workers = 60, 6, 30, 1, 1
        # What a card is given is put together there; in a rehearsal the CPU stands in for it.
        ModelInMemory.puts_together_on = frozenset({"cuda", "cpu"})
    return given


def main(words: list[str] | None = None) -> int:
    """Measure, write the figures and print them; return the exit code."""
    given = parsed(words)
    look_less_for_garbage()  # as the command line does
    if given.device != "cpu" and not torch.cuda.is_available():
        sys.exit("there is no CUDA card here; to try the command out: --device cpu --rehearse")
    with tempfile.TemporaryDirectory() as folder:
        measurements = Measurements(given, Path(folder))
        measurements.all()
    print("\n".join(lines(measurements.told)))
    if measurements.failed:
        print(f"failed: {', '.join(measurements.failed)}", file=sys.stderr)
    return 1 if measurements.failed else 0


if __name__ == "__main__":
    sys.exit(main())
