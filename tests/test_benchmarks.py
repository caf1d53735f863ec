"""Benchmarks that need no model still run, at tiny sizes: when what they measure changes, they are needed again."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support import PROJECT

BENCHMARKS = PROJECT / "tests" / "benchmarks"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ("planning.py", "--sample", "200", "--rows", "2000", "--shard-rows", "50", "--workers", "3"),
            ("scheduling", "reading and cutting", "packing for the workers", "parts and markers", "into a folder"),
        ),
        (("growth.py", "rows", "--rows", "60", "120", "--model", "qatool/models/default"), ("    60 ", "   120 ")),
    ],
    ids=lambda value: value[0].removesuffix(".py") if value[0].endswith(".py") else "",
)
def test_it_runs(words, expected) -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / words[0]), *words[1:]],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for part in expected:
        assert part in done.stdout
