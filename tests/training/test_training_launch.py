"""Which process of a training this one is, as launchers say."""

from __future__ import annotations

import pytest

from qatool.errors import InputError, UsageError
from qatool.training.launch import Launch

VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID", "GROUP_RANK")
SLURM = ("PROCID", "LOCALID", "NODEID", "NTASKS", "NTASKS_PER_NODE", "NNODES", "JOB_NAME", "JOB_ID")


@pytest.fixture(autouse=True)
def nobody(monkeypatch) -> None:
    for name in (*VARIABLES, *(f"SLURM_{name}" for name in SLURM)):
        monkeypatch.delenv(name, raising=False)


def launch(monkeypatch, **variables: object) -> Launch:
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    return Launch.of_environment()


def test_alone(monkeypatch) -> None:
    alone = launch(monkeypatch)
    assert (alone.world, alone.rank, alone.nodes, alone.devices, alone.is_main) == (1, 0, 1, 1, True)
    alone.check_devices("2")
    with alone.joined(on_card=False), pytest.raises(InputError, match="it"), alone.together():
        raise InputError("it")


def test_started_by_lightning(monkeypatch) -> None:
    assert not launch(monkeypatch, LOCAL_RANK=1, WORLD_SIZE=2).is_main


def test_torchrun(monkeypatch) -> None:
    one = launch(monkeypatch, TORCHELASTIC_RUN_ID="x", WORLD_SIZE=4, LOCAL_WORLD_SIZE=2, RANK=2, LOCAL_RANK=0)
    assert (one.world, one.rank, one.nodes, one.devices, one.is_main) == (4, 2, 2, 2, False)
    one.check_devices(None)
    one.check_devices("2")
    with pytest.raises(
        UsageError, match="--devices 4: 2 processes were launched on each machine; drop it, or launch"
    ):
        one.check_devices("4")


def test_slurm(monkeypatch) -> None:
    common = {"SLURM_NTASKS": 4, "SLURM_PROCID": 0, "SLURM_LOCALID": 0, "SLURM_NNODES": 2, "SLURM_JOB_NAME": "train"}
    with pytest.raises(UsageError, match="--ntasks-per-node"):
        launch(monkeypatch, **common)
    one = launch(monkeypatch, SLURM_NTASKS_PER_NODE=2)
    assert (one.world, one.rank, one.nodes, one.devices, one.is_main) == (4, 0, 2, 2, True)


def test_a_shell_on_slurm_is_nobody_s_training(monkeypatch) -> None:
    assert launch(monkeypatch, SLURM_NTASKS=4, SLURM_PROCID=0, SLURM_JOB_NAME="bash").world == 1
