"""The rate of ``qatool finetune``'s steps on a card, in a process of its own."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch


def finetune_rate(
    model: Path, rows: Sequence[dict[str, Any]], folder: Path, *, device: torch.device, batch_size: int
) -> dict[str, float]:
    """Return windows and steps a second over the second half of the steps: in the first, shapes of batches are new.

    :raises RuntimeError: the run failed
    """
    train, output = folder / "train.jsonl", folder / f"finetuned-{model.name}-{batch_size}"
    train.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [sys.executable, "-m", "qatool", "finetune", str(train), "-o", str(output), "--model", str(model), "-q"]
    words += ["--batch-size", str(batch_size), "--accelerator", device.type, "--restart"]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    if done.returncode:
        raise RuntimeError(f"qatool finetune ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    with (output / "metrics.csv").open() as stream:
        lines = [line for line in csv.DictReader(stream) if line["windows_per_second"]]
    lines = lines[len(lines) // 2 :]
    steps = [int(line["step"]) for line in lines]
    each = steps[0] if len(steps) == 1 else (steps[-1] - steps[0]) / (len(steps) - 1)
    rate = len(lines) / sum(1 / float(line["windows_per_second"]) for line in lines)
    return {"windows_per_second": rate, "steps_per_second": rate / batch_size, "steps_a_line": each}
