"""The command that measures everything on a card, tried out on a CPU at tiny sizes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from support import PROJECT

BENCHMARKS = PROJECT / "tests" / "benchmarks"


def errors_of(told: Any, place: str = "") -> dict[str, str]:
    """The measurements that failed, and why."""
    if not isinstance(told, dict):
        return {}
    if "error" in told:
        return {place: told["error"]}
    return {name: why for key, value in told.items() for name, why in errors_of(value, f"{place}/{key}").items()}


@pytest.mark.slow
def test_the_command_works(tmp_path) -> None:
    output = tmp_path / "card.json"
    words = [sys.executable, str(BENCHMARKS / "card.py"), "--device", "cpu", "--rehearse", "--output", str(output)]
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "HF_HUB_OFFLINE": "1", "QATOOL_CACHE": str(tmp_path)}
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=550)
    told = json.loads(output.read_text())
    assert errors_of(told) == {}
    assert done.returncode == 0, done.stderr[-2_000:]
    assert told["rehearsal"] is True
    assert told["ceilings"]["matmul_teraflops"]["bf16"] > 0
    for name in ("MiniLM", "distilroberta"):
        found = told["sizes"][name]
        assert set(found) == {
            "extraction",
            "compiled",
            "stages",
            "busy",
            "peers",
            "precision",
            "memory",
            "steps",
            "training",
        }
        assert found["extraction"]["share_of_matmul"] > 0
        assert found["stages"]["way"] == "packed"
        assert 0 < found["busy"]["busy_share"] <= 1
        assert found["precision"]["same_answer_as_fp32"]["fp32"] == 1
        assert found["memory"]["absurd --batch-tokens"]["rejected"] == 0
        assert found["steps"]["graphs"]["batch 4"]["milliseconds"] > 0
        assert found["training"]["batch 8"]["ratio"] > 0
        assert "windows_per_second" in done.stdout


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [([], 0), ([(0, 2), (1, 3), (5, 6)], 4), ([(0, 9), (1, 2), (3, 4)], 9), ([(4, 5), (0, 1)], 2)],
)
def test_time_covered_by_kernels(monkeypatch, ranges, expected) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from card_stages import covered

    assert covered(ranges) == expected


def test_loading_the_model_is_no_time_of_reading(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from card_stages import while_reading

    loading = [("Memcpy HtoD", 0, 90), ("cast", 90, 92)]
    reading = [("product", 102, 105), ("norm", 105, 106), ("product", 107, 111), ("Memcpy DtoH", 111, 112)]
    assert while_reading(loading + reading) == reading
