"""Checkpoints that are whole or not there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
import torch

from qatool.commands.finetune import run
from qatool.errors import InputError, OutOfTime, OutputError
from qatool.training.checkpoints import WholeCheckpoints


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_comes_back(tmp_path) -> None:
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"step": 3, "weights": torch.arange(4)}, path)
    found = WholeCheckpoints().load_checkpoint(path, weights_only=True)
    assert found["step"] == 3
    assert found["weights"].tolist() == [0, 1, 2, 3]
    assert names(tmp_path) == ["last.ckpt"]


def test_one_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch) -> None:
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"step": 1}, path)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"last.ckpt: cannot be written: the disk is full"):
        WholeCheckpoints().save_checkpoint({"step": 2}, path)
    assert WholeCheckpoints().load_checkpoint(path, weights_only=True) == {"step": 1}
    assert names(tmp_path) == ["last.ckpt"]


@pytest.mark.parametrize("left", [0, 100, -1])
def test_a_damaged_one_is_told(tmp_path, left: int) -> None:
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"weights": torch.zeros(1_000)}, path)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(InputError, match=r"is no whole checkpoint .* start over with --restart"):
        WholeCheckpoints().load_checkpoint(path, weights_only=True)


def test_a_run_writes_them_beside_the_model_alone(options, tmp_path, monkeypatch) -> None:
    elsewhere = tmp_path / "none"
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    with pytest.raises(OutOfTime):
        run(options(max_duration="0s"))
    folder = tmp_path / "model.qatool"
    assert "last.ckpt" in names(folder)
    (folder / ".last.ckpt.0123abcd.tmp").touch()
    whole = (folder / "last.ckpt").read_bytes()
    (folder / "last.ckpt").write_bytes(whole[:-50])
    with pytest.raises(InputError, match="is no whole checkpoint"):
        run(options())
    assert not list(folder.glob(".*.tmp"))
    (folder / "last.ckpt").write_bytes(whole)
    assert run(options()).steps
