"""The checks that need no test of their own: lint, format, types."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support import PROJECT


@pytest.mark.parametrize(
    "check",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]],
    ids=["lint", "format", "types"],
)
def test_the_sources_pass(check: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *check],
        cwd=PROJECT,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
