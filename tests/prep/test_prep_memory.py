"""Memory does not grow with the input: the peak of ``prep`` at 500,000 rows is that at 50,000."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# Not ru_maxrss: a process inherits that of the one it was started from.
MEASURE = """\
import os, re, sys, threading, time
from pathlib import Path
from qatool import cli

peaks = {}

def watch():
    while True:
        for path in Path("/proc").glob("[0-9]*/status"):
            try:
                status = path.read_text()
            except OSError:
                continue
            parent, pid = (int(re.search(name + r":\\s+(\\d+)", status)[1]) for name in ("PPid", "\\nPid"))
            found = re.search(r"VmHWM:\\s+(\\d+)", status)
            if found and os.getpid() in (parent, pid):
                who = "parent" if pid == os.getpid() else "worker"
                peaks[who] = max(peaks.get(who, 0), int(found[1]))
        time.sleep(0.2)

threading.Thread(target=watch, daemon=True).start()
print(cli.run(sys.argv[1:]), peaks["parent"], peaks["worker"])
"""


def peaks(folder, model, rows: int) -> tuple[int, int]:
    """Return the peak of the parent and of its largest worker, in kibibytes."""
    source = folder / f"{rows}.jsonl"
    with source.open("w") as stream:
        for number in range(rows):
            context = (
                f"Pump {number} was built by a clockmaker in {1000 + number}, and the water of valley {number} ran."
            )
            answers = {"text": ["clockmaker"], "answer_start": [context.index("clockmaker")]}
            row = {"question": f"Who built pump {number}?", "context": context, "answers": answers}
            stream.write(json.dumps(row) + "\n")
    words = ["prep", source, "-o", folder / f"f{rows}", "--model", model, "--workers", 2, "-q", "--max-length", 64]
    done = subprocess.run([sys.executable, "-c", MEASURE, *map(str, words)], capture_output=True, text=True)
    code, parent, worker = done.stdout.split()
    assert code == "0", done.stderr
    return int(parent), int(worker)


@pytest.mark.slow
def test_peak_memory_is_flat(tmp_path, tiny_model) -> None:
    small, large = (peaks(tmp_path, tiny_model, rows) for rows in (50_000, 500_000))
    print(f"50,000 rows: parent and worker {small} KiB; 500,000 rows: {large} KiB")
    for before, after in zip(small, large, strict=True):
        assert after <= 1.1 * before
