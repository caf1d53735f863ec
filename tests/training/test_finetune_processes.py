"""``qatool finetune`` as a process of its own: signals, and two devices."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file


def command(labelled, model, output, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "qatool", "finetune", str(labelled), "-o", str(output), "--model", str(model)),
        *("--batch-size", "8", "--max-length", "96", "--stride", "16", "--accelerator", "cpu", "--precision", "fp32"),
        *more,
    ]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def test_help_needs_no_lightning() -> None:
    code = "from qatool.cli import run; run(['finetune', '--help']); import sys; print('loaded', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.rpartition("\nloaded ")[2].split()
    assert "qatool.cli.finetune" in loaded
    assert {"torch", "lightning", "transformers", "pyarrow"} & set(loaded) == set()


@pytest.mark.parametrize("missing", ["lightning", "datasets"])
def test_without_the_extra(labelled, tiny_model, tmp_path, missing) -> None:
    hidden = f"import sys; sys.modules['{missing}'] = None; "
    words = command(labelled, tiny_model, tmp_path / "m")[3:]
    code = f"{hidden}from qatool.cli import run; sys.exit(run({words!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert done.returncode == 4
    assert done.stderr == f"Error: finetune: needs {missing}; run: pip install 'qatool[train]'\n"


@pytest.mark.slow
def test_terminated_and_started_again(labelled, tiny_model, tmp_path) -> None:
    more = (
        "--epochs",
        "30",
        "--validation",
        str(labelled),
        "--validations",
        "2",
        "--dropout",
        "0.1",
        "--adversarial",
        "0.5",
    )
    whole = command(labelled, tiny_model, tmp_path / "whole", *more)
    subprocess.run(whole, env=environment(), check=True, capture_output=True)
    words = command(labelled, tiny_model, tmp_path / "model", *more)
    process = subprocess.Popen(words, env=environment(), stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "model.qatool" / "metrics.csv"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text().count("\n") > 2):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert "Error: terminated; the same command continues" in said
    assert not (tmp_path / "model").exists()
    done = subprocess.run(words, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "training continues from its checkpoint" in done.stderr
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "model"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_two_devices(labelled, tiny_model, tmp_path) -> None:
    """With weights that stand still, both count every validation example once; with others, the model is as good."""
    figures, f1 = {}, {}
    for devices, rate in ((1, "1e-12"), (2, "1e-12"), (1, "2e-3"), (2, "2e-3")):
        output = tmp_path / f"model-{devices}-{rate}"
        more = ("--devices", str(devices), "--learning-rate", rate, "--epochs", "12", "--validation", str(labelled))
        more += ("--strategy", "ddp") if devices > 1 else ()
        done = subprocess.run(
            command(labelled, tiny_model, output, *more, "--validations", "1", "--dropout", "0"),
            env=environment(),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("model in") == 1
        last = Path(output, "metrics.csv").read_text().splitlines()[-1].split(",")
        figures[devices, rate] = last
        f1[devices, rate] = float(last[-1])
    assert figures[1, "1e-12"] == figures[2, "1e-12"]
    assert abs(f1[1, "2e-3"] - f1[2, "2e-3"]) <= 0.5


def launched(words: list[str], *, port: int) -> list[str]:
    """The words behind the interpreter, by two processes of torchrun."""
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"),
        *("--master-port", str(port)),
        *words,
    ]


@pytest.fixture
def by_two(labelled, tiny_model, tmp_path) -> list[str]:
    more = ("--validation", str(labelled), "--validations", "2", "--epochs", "6", "--learning-rate", "2e-3")
    return command(labelled, tiny_model, tmp_path / "model", *more)[1:]


@pytest.mark.cluster
def test_torchrun(by_two, tmp_path) -> None:
    done = subprocess.run(launched(by_two, port=29513), env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "model" / "qatool.json").read_text())["max_length"] == 96
    assert done.stderr.count("model in") == done.stderr.count("INFO training ") == 1
    assert not (tmp_path / "model.qatool").exists()


@pytest.mark.cluster
def test_torchrun_with_a_teacher_and_a_mean(by_two, tiny_model, tmp_path) -> None:
    """Both processes take the same mean, which with nothing but itself is the learner, and validate it together."""
    words = [*by_two, "--teacher", str(tiny_model), "--learning-rate", "1e-12", "--average", f"{tiny_model}=0.5"]
    done = subprocess.run(launched(words, port=29518), env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    one, other = (load_file(folder / "model.safetensors") for folder in (tiny_model, tmp_path / "model"))
    for name, value in one.items():
        torch.testing.assert_close(other[name], value)
    lines = (tmp_path / "model" / "metrics.csv").read_text().splitlines()
    scored = [line.split(",")[-2:] for line in lines[1:] if not line.endswith(",")]
    assert len(scored) == 3
    assert len({tuple(line) for line in scored}) == 1


@pytest.mark.cluster
def test_torchrun_stopped_and_started_again_gives_the_same_weights(by_two, tmp_path) -> None:
    by_two += ["--adversarial", "0.5", "--dropout", "0.1"]
    whole = [str(tmp_path / "whole") if word == str(tmp_path / "model") else word for word in by_two]
    subprocess.run(launched(whole, port=29514), env=environment(), capture_output=True, check=True)
    starts = 0
    while not (tmp_path / "model").exists():
        limit = () if starts == 2 else ("--max-duration", "0s")
        done = subprocess.run(
            launched([*by_two, *limit], port=29515), env=environment(), capture_output=True, text=True
        )
        starts += 1
        assert starts < 4, done.stderr
        if starts < 3:
            assert done.returncode
            assert done.stderr.count("--max-duration 0s: is over; the same command continues") == 1
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "model"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.cluster
def test_what_is_wrong_is_said_once(by_two) -> None:
    words = ["/nowhere" if word.endswith("train.jsonl") else word for word in by_two]
    done = subprocess.run(launched(words, port=29516), env=environment(), capture_output=True, text=True)
    assert done.returncode
    said = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert said == ["Error: /nowhere: no such file or folder; check the path"]
    assert "exitcode  : 3" in done.stderr


@pytest.mark.cluster
def test_other_devices_than_launched(by_two) -> None:
    done = subprocess.run(
        launched([*by_two, "--devices", "3"], port=29517), env=environment(), capture_output=True, text=True
    )
    assert "--devices 3: 2 processes were launched on each machine; drop it, or launch 3" in done.stderr


@pytest.mark.cluster
def test_slurm(by_two, tmp_path) -> None:
    """As srun starts them: two processes that know each other by SLURM's variables only."""
    common = {
        **environment(),
        "SLURM_JOB_ID": "24518",
        "SLURM_JOB_NAME": "train",
        "SLURM_NODELIST": "127.0.0.1",
        "SLURM_NODEID": "0",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_NNODES": "1",
    }
    both = [
        subprocess.Popen(
            [sys.executable, *by_two],
            env={**common, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert "model in" in said[0]
    assert said[1] == ""
    assert (tmp_path / "model" / "model.safetensors").exists()
