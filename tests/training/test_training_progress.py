"""Plain lines of a training: while it trains, while it validates, and what time they say is left."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace
from typing import Any

import torch

from qatool.commands.finetune import run
from qatool.training import callbacks
from qatool.training.callbacks import PlainLines


def test_lines_go_on_while_validating(options, labelled, tmp_path, monkeypatch, capfd) -> None:
    monkeypatch.setattr(callbacks, "PLAIN_INTERVAL", 0.0)
    dev = tmp_path / "dev.jsonl"
    dev.write_text(labelled.read_text() * 4)
    run(options(validation=str(dev), validations=2, epochs=2, batch_size=5, progress="plain"))
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("step ")]
    numbers = [int(line.split()[1].rstrip(":")) for line in lines]
    assert numbers == sorted(numbers)
    first, rest = lines[0], lines[-1]
    assert re.fullmatch(r"step 2 of \d+: loss \d+\.\d{3}, [\d.,]+ windows/s, [\d.]+ s and 2 validations left", first)
    assert re.fullmatch(rf"step {numbers[-1]}: EM \d+\.\d\d, F1 \d+\.\d\d", rest)
    pattern = r"step (\d+): validating, (\d+) of (\d+) windows, [\d.,]+ windows/s, [\d.]+ s left"
    told = [tuple(map(int, found.groups())) for line in lines if (found := re.fullmatch(pattern, line))]
    assert {step for step, _, _ in told} == {numbers[-1] // 2, numbers[-1]}
    whole = {windows for _, _, windows in told}
    of_the_last = [read for step, read, _ in told if step == numbers[-1]]
    assert len(whole) == 1
    assert of_the_last == sorted(set(of_the_last))
    assert len(of_the_last) > 2
    assert whole == {of_the_last[-1]}
    trained = [line for line in lines if f" of {numbers[-1]}: loss" in line]
    assert trained[-1].endswith(" s left")
    assert "validation" not in trained[-1]


def test_the_time_left_has_validations_in_it() -> None:
    now = [0.0]
    stream = io.StringIO()
    lines = PlainLines(stream, clock=lambda: now[0])
    watching: list[Any] = []
    trainer: Any = SimpleNamespace(
        world_size=1,
        max_steps=8,
        global_step=0,
        val_check_batch=4,
        enable_validation=True,
        datamodule=SimpleNamespace(validation_windows=50),
    )
    module: Any = SimpleNamespace(figures=SimpleNamespace(exact=40.0, f1=50.0), watch_validation=watching.append)

    def step() -> None:
        now[0] += 20.0
        trainer.global_step += 1
        lines.on_train_batch_end(trainer, module, {"windows": 10, "loss": torch.tensor(1.0)}, None, 0)

    for _ in range(4):
        step()
    lines.on_validation_start(trainer, module)
    for _ in range(5):
        now[0] += 12.0
        watching[-1](10)
    lines.on_validation_end(trainer, module)
    for _ in range(4):
        step()
    assert stream.getvalue().splitlines() == [
        "step 2 of 8: loss 1.000, 0.5 windows/s, 2 min 00 s and 2 validations left",
        "step 4 of 8: loss 1.000, 0.5 windows/s, 1 min 20 s and 2 validations left",
        "step 4: validating, 30 of 50 windows, 0.8 windows/s, 24 s left",
        "step 4: EM 40.00, F1 50.00",
        "step 6 of 8: loss 1.000, 0.5 windows/s, 1 min 40 s left",
        "step 8 of 8: loss 1.000, 0.5 windows/s, 1 min 00 s left",
    ]
