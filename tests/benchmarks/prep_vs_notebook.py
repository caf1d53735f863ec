"""``qatool prep`` against the recipe of the usual fine-tuning notebooks, alternately, in fresh processes.

    python tests/benchmarks/prep_vs_notebook.py ../shared/data/squad1.1-train-44-articles.json \\
        --model ../shared/models/minilm-qa --workers 2 --repeats 3

Both read the same rows and give every window its label. The recipe is ``datasets.map(batched=True, num_proc=N)``
over a tokenizer padded to ``max_length``, with Python loops over ``sequence_ids`` and ``offset_mapping``. Told are
the time of the work from a loaded tokenizer to features on disk (starting processes included, in both), of the
whole process with its imports, and the processor time of all processes together, which
other work on the machine disturbs least.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from itertools import chain
from pathlib import Path
from typing import Any

MAX_LENGTH = 384
STRIDE = 128


def notebook_labels(
    examples: dict[str, list[Any]], tokenizer: Any, *, max_length: int = MAX_LENGTH, stride: int = STRIDE
) -> dict[str, list[Any]]:
    """The recipe: tokenise a batch of pairs, then walk each window's tokens to its answer."""
    tokenized = tokenizer(
        [question.strip() for question in examples["question"]],
        examples["context"],
        max_length=max_length,
        truncation="only_second",
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        padding="max_length",
    )
    sample_map = tokenized.pop("overflow_to_sample_mapping")
    starts, ends = [], []
    for i, offset in enumerate(tokenized["offset_mapping"]):
        answers = examples["answers"][sample_map[i]]
        if not answers["answer_start"]:
            starts.append(0)
            ends.append(0)
            continue
        start_char = answers["answer_start"][0]
        end_char = start_char + len(answers["text"][0])
        sequence_ids = tokenized.sequence_ids(i)
        idx = 0
        while sequence_ids[idx] != 1:
            idx += 1
        context_start = idx
        while sequence_ids[idx] == 1:
            idx += 1
        context_end = idx - 1
        if offset[context_start][0] > start_char or offset[context_end][1] < end_char:
            starts.append(0)
            ends.append(0)
            continue
        idx = context_start
        while idx <= context_end and offset[idx][0] <= start_char:
            idx += 1
        starts.append(idx - 1)
        idx = context_end
        while idx >= context_start and offset[idx][1] >= end_char:
            idx -= 1
        ends.append(idx + 1)
    tokenized["start_positions"] = starts
    tokenized["end_positions"] = ends
    return tokenized


def run_notebook(rows: Path, model: str, workers: int, folder: Path) -> dict[str, float]:
    import datasets
    from transformers import AutoTokenizer

    datasets.disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(model)
    data = datasets.load_dataset("parquet", data_files=str(rows), split="train", cache_dir=str(folder / "cache"))
    began = time.monotonic()
    features = data.map(
        notebook_labels,
        batched=True,
        num_proc=workers if workers > 1 else None,
        remove_columns=data.column_names,
        fn_kwargs={"tokenizer": tokenizer},
    )
    seconds = time.monotonic() - began
    size = sum(Path(file["filename"]).stat().st_size for file in features.cache_files)
    return {"work": seconds, "windows": len(features), "bytes": size}


def run_qatool(rows: Path, model: str, workers: int, folder: Path) -> dict[str, float]:
    from qatool.commands.prep import run
    from qatool.options import PrepOptions

    output = folder / "features"
    options = PrepOptions(
        inputs=(str(rows),),
        output=str(output),
        model=model,
        max_length=MAX_LENGTH,
        stride=STRIDE,
        workers=workers,
    )
    result = run(options)
    size = sum(path.stat().st_size for path in output.iterdir())
    return {"work": result.seconds - result.load_seconds, "windows": result.audit["windows"], "bytes": size}


def flatten(sources: list[Path], target: Path) -> int:
    """Write the labelled rows of SQuAD files as Parquet, the layout of the Hugging Face data set."""
    import pyarrow as pa
    from pyarrow import parquet

    rows = []
    for article in chain.from_iterable(json.loads(source.read_bytes())["data"] for source in sources):
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                answers = {name: [a[name] for a in asked["answers"]] for name in ("text", "answer_start")}
                row = {"id": asked["id"], "question": asked["question"], "context": paragraph["context"]}
                rows.append(row | {"answers": answers})
    parquet.write_table(pa.Table.from_pylist(rows), target)
    return len(rows)


class ProcessorTime(threading.Thread):
    """Processor time of all processes of a session, by looking often.

    Not ``RUSAGE_CHILDREN``: it leaves out grandchildren that nobody waits for, such as those of a fork server.
    """

    def __init__(self, session: int) -> None:
        super().__init__(daemon=True)
        self._session = session
        self._seen: dict[str, int] = {}
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.02):
            for path in Path("/proc").glob("[0-9]*/stat"):
                with contextlib.suppress(OSError):
                    fields = path.read_text().rpartition(")")[2].split()
                    if int(fields[3]) == self._session:
                        self._seen[path.parent.name] = int(fields[11]) + int(fields[12])

    def seconds(self) -> float:
        self._ended.set()
        self.join()
        return sum(self._seen.values()) / os.sysconf("SC_CLK_TCK")


def once(which: str, rows: Path, model: str, workers: int) -> dict[str, float]:
    """Run one of the two in a process, and a session, of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, str(rows), "--model", model, "--workers", str(workers)]
        began = time.monotonic()
        process = subprocess.Popen(
            [*command, "--only", which, "--folder", folder],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": folder},
            start_new_session=True,
        )
        watch = ProcessorTime(process.pid)
        watch.start()
        told, _ = process.communicate()
        whole = time.monotonic() - began
        cpu = watch.seconds()
    if process.returncode:
        raise SystemExit(f"{which} failed")
    return json.loads(told.splitlines()[-1]) | {"whole": whole, "cpu": cpu}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, nargs="+")
    parser.add_argument("--model", required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=["notebook", "qatool"])
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    if asked.only:
        task = run_notebook if asked.only == "notebook" else run_qatool
        print(json.dumps(task(asked.source[0], asked.model, asked.workers, asked.folder)))
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder, "rows.parquet")
        examples = flatten(asked.source, rows)
        times: dict[str, list[dict[str, float]]] = {"notebook": [], "qatool": []}
        for _ in range(asked.repeats):
            for which, found in times.items():
                found.append(once(which, rows, asked.model, asked.workers))
                print(which, {name: round(value, 2) for name, value in found[-1].items()}, flush=True)
    middle = {
        which: {name: statistics.median(one[name] for one in found) for name in found[0]}
        for which, found in times.items()
    }
    for which, found in middle.items():
        print(
            f"{which}: median {found['work']:.2f} s of work ({examples / found['work']:,.0f} examples/s), "
            f"{found['whole']:.2f} s in all, {found['windows']:,.0f} windows, {found['bytes'] / 1e6:.1f} MB"
        )
    for name in ("work", "whole", "cpu", "bytes"):
        print(f"ratio of {name}: {middle['notebook'][name] / middle['qatool'][name]:.1f}")


if __name__ == "__main__":
    main()
