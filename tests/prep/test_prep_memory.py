"""Memory does not grow with the input: the peak of ``prep`` at 500,000 rows is that at 50,000."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# Not ru_maxrss: a process inherits that of the one it was started from. By session and not by parent: the parent of
# a worker is the fork server.
MEASURE = """\
import os, re, sys, threading, time
from pathlib import Path
from qatool import cli

peaks, workers = {}, set()

def watch():
    while True:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                session = int((folder / "stat").read_text().rpartition(")")[2].split()[3])
                found = re.search(r"VmHWM:\\s+(\\d+)", (folder / "status").read_text())
            except OSError:
                continue
            if found and session == os.getpid():
                own = folder.name == str(os.getpid())
                who = "parent" if own else "worker"
                peaks[who] = max(peaks.get(who, 0), int(found[1]))
                workers.update([] if own else [folder.name])
        time.sleep(0.2)

threading.Thread(target=watch, daemon=True).start()
print(cli.run(sys.argv[1:]), peaks["parent"], peaks["worker"], len(workers))
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
    command = [sys.executable, "-c", MEASURE, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, start_new_session=True)
    code, parent, worker, seen = done.stdout.split()
    assert code == "0", done.stderr
    # Two workers at the least besides the fork server and what keeps track of it: else the peak is not theirs.
    assert int(seen) >= 3
    return int(parent), int(worker)


@pytest.mark.slow
def test_peak_memory_is_flat(tmp_path, tiny_model) -> None:
    small, large = (peaks(tmp_path, tiny_model, rows) for rows in (50_000, 500_000))
    print(f"50,000 rows: parent and worker {small} KiB; 500,000 rows: {large} KiB")
    for before, after in zip(small, large, strict=True):
        assert after <= 1.1 * before
