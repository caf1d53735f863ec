"""Runs of the command line as processes of their own, quick to start: forked from one that has imported it all."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["jobs_preload"])
_FORK_SERVER: Any = forkserver._forkserver
_REACHED_BY = ("_forkserver_address", "_forkserver_authkey")
"""What it takes to reach it; the second from Python 3.14 on."""


@dataclass
class Process:
    """One start of the command line."""

    process: Any
    folder: Path
    name: str

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait(self, timeout: float = 300) -> int:
        """Return the exit code; that of a killed process is minus the signal."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.process.kill()
            raise TimeoutError(self.err)
        return self.process.exitcode

    def follow(self, *, patience: float = 300, look: Callable[[], object] = lambda: None) -> int:
        """Wait to the end, however long it takes, and look once a second; return the exit code.

        :param patience: seconds without a byte read or written after which the process counts as stuck
        """
        moved, since = -1, time.monotonic()
        while self.process.is_alive():
            look()
            now = _moved_bytes(self.pid)
            if now != moved:
                moved, since = now, time.monotonic()
            assert time.monotonic() - since < patience, f"no progress for {patience} s: {self.err}"
            self.process.join(1)
        return self.wait()

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    @property
    def is_held(self) -> bool:
        """Whether it has come to where ``jobs_patches.hold`` keeps it."""
        return (self.folder / f"{self.name}.held").exists()

    def go_on(self) -> int:
        """Let a run that is held go on; return its exit code."""
        (self.folder / f"{self.name}.go").touch()
        return self.wait()

    def wait_for(self, condition: Callable[[], object], timeout: float = 300) -> None:
        """Wait until ``condition`` holds, while the process lives."""
        end = time.monotonic() + timeout
        while not condition():
            assert self.process.is_alive(), f"ended early: {self.process.exitcode} {self.err}"
            assert time.monotonic() < end, f"waited in vain: {self.err}"
            time.sleep(0.005)

    @property
    def out(self) -> str:
        path = self.folder / f"{self.name}.out"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def err(self) -> str:
        path = self.folder / f"{self.name}.err"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def error(self) -> str:
        """The error lines, without what is logged."""
        return "".join(line for line in self.err.splitlines(keepends=True) if line.startswith("Error:"))


@dataclass
class Runner:
    """Starts ``qatool extract`` with a model and small shards on an input and an output in ``folder``."""

    folder: Path
    model: Path
    words: Sequence[str] = ("--backend", "constant", "--shard-rows", "20", "--progress", "none")
    count: int = 0
    started: list[Process] = field(default_factory=list)

    def start(self, *words: str, output: str | Path = "answers.parquet", **setting: Any) -> Process:
        """Start a run in the background.

        :param setting: ``file_size`` limit in bytes, ``stdin`` path, ``stdout`` descriptor path, ``environment``,
            ``patch``: ``module:function`` called in the process before, ``durable``: wait for the disk as users do
        """
        return self.raw("extract", "-o", str(output), "--model", str(self.model), *self.words, *words, **setting)

    def raw(self, *words: str, **setting: Any) -> Process:
        self.count += 1
        name = f".run{self.count}"
        _FORK_SERVER.ensure_running()
        reached = {key: getattr(_FORK_SERVER, key) for key in _REACHED_BY if hasattr(_FORK_SERVER, key)}
        setting = {"cwd": str(self.folder), "name": name, "fork_server": reached, **setting}
        process = _FORKS.Process(target=_serve, args=(words, setting))
        process.start()
        self.started.append(Process(process, self.folder, name))
        return self.started[-1]

    def run(self, *words: str, **setting: Any) -> Process:
        """Run to the end."""
        process = self.start(*words, **setting)
        process.follow()
        return process

    def code(self, *words: str, **setting: Any) -> int:
        return self.run(*words, **setting).process.exitcode

    def done(self, *words: str, **setting: Any) -> Process:
        """Run to the end, which must be a good one."""
        process = self.run(*words, **setting)
        assert process.process.exitcode == 0, process.err
        return process

    @property
    def output(self) -> Path:
        return self.folder / "answers.parquet"

    @property
    def run_folder(self) -> Path:
        return self.folder / "answers.parquet.qatool"

    def markers(self) -> int:
        return len(list(self.run_folder.glob("done/*.json")))

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.run_folder / "log.jsonl").read_text().splitlines()]

    def summary(self) -> dict[str, Any]:
        return json.loads((self.folder / "answers.parquet.summary.json").read_text())

    def held(self, *words: str, shards: int, patch: str = "jobs_patches:hold", **setting: Any) -> Process:
        """Start a run and return when it has done so many shards, has the next in hand and waits."""
        process = self.start(*words, patch=patch, environment={"HOLD": str(shards)}, **setting)
        process.wait_for(lambda: process.is_held)
        return process

    def interrupted(self, *words: str, shards: int = 3, how: int = signal.SIGKILL, **setting: Any) -> Process:
        """Start a run and stop it when it has done so many shards and has the next in hand."""
        process = self.held(*words, shards=shards, **setting)
        process.send(how)
        process.wait()
        return process


def _moved_bytes(pid: int) -> int:
    """Return how many bytes a process has read and written so far; those of one that has ended are none."""
    try:
        counts = Path(f"/proc/{pid}/io").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in counts.splitlines() if line.startswith(("rchar", "wchar")))


def _serve(words: Sequence[str], setting: dict[str, Any]) -> None:
    """Be the process: take over folder, streams and limits, then run the command line."""
    # Whoever started the tests in the background has SIGINT ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(setting["cwd"])
    if setting.get("own_group"):
        os.setsid()
    reading = os.open(setting.get("stdin", os.devnull), os.O_RDONLY)
    writing = os.open(setting.get("stdout", f"{setting['name']}.out"), os.O_WRONLY | os.O_CREAT, 0o644)
    errors = os.open(f"{setting['name']}.err", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for number, descriptor in enumerate((reading, writing, errors)):
        os.dup2(descriptor, number)
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, encoding="utf-8", errors=on_error, closefd=False)  # noqa: SIM115
        for number, mode, on_error in ((0, "r", "strict"), (1, "w", "strict"), (2, "w", "backslashreplace"))
    )
    os.environ.update(setting.get("environment", {}), RUN_NAME=setting["name"])
    # Processes of its own are forked from the same one, instead of from another that has to import everything again.
    _FORK_SERVER.ensure_running = lambda: None
    vars(_FORK_SERVER).update(setting["fork_server"])
    if not setting.get("durable"):
        # What is written outlives a kill without it, and hundreds of waits for a busy disk take minutes.
        os.fsync = _fsync_in_name
    if "file_size" in setting:
        resource.setrlimit(resource.RLIMIT_FSIZE, (setting["file_size"], setting["file_size"]))
    if "patch" in setting:
        module, _, function = setting["patch"].partition(":")
        getattr(__import__(module), function)()
    from qatool import cli

    cli.main(list(words))


def _fsync_in_name(descriptor: int) -> None:
    """Fail where the descriptor cannot be synced because it is none."""
    os.fstat(descriptor)


def qatool(*words: str, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run ``python -m qatool`` as anybody would."""
    command = [sys.executable, "-m", "qatool", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, **options)
