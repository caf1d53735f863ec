"""Callbacks between steps: they record figures, show progress, and save a run that must stop so it can continue."""

from __future__ import annotations

import csv
import signal
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn

from qatool.errors import QatoolError
from qatool.files.storage.writefailures import reporting
from qatool.logs import harmless, log_event
from qatool.observers import PLAIN_INTERVAL
from qatool.training.launch import agree_on_error
from qatool.wording import counted, duration

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TextIO

    from lightning.pytorch import LightningModule, Trainer
    from torch import Tensor

    from qatool.jobs.stopping import Stop
    from qatool.training.module import QuestionAnsweringModule

CHECKPOINT_SECONDS = 300.0
"""Seconds between two checkpoints, so that a killed run loses about as much work at most."""
RECORD_STEPS = 10
"""Steps over which a line of the record averages."""
_RECENT = 50
"""Steps over which the displayed speed is measured."""


class Checkpoints(Checkpoint):
    """Saves the state of a run every few minutes and when it must stop, so that the same command continues it.

    :param path: the checkpoint file, which is always replaced as a whole
    :param stop: checked after every step
    :param clock: returns seconds since some fixed moment
    """

    def __init__(self, path: Path, stop: Stop, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._stop = stop
        self._clock = clock
        self._last = clock()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and stop if due, after a step that no validation follows.

        :raises Interrupted: and others, see :meth:`_save_or_stop`
        """
        # A run that continues from a checkpoint just before a validation would skip the validation.
        if not trainer.enable_validation or trainer.global_step % int(trainer.val_check_batch or 1):
            self._save_or_stop(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save and stop if due, after a validation.

        :raises Interrupted: and others, see :meth:`_save_or_stop`
        """
        # Not after the validation at the very end, which is no part of training.
        if trainer.state.fn == TrainerFn.FITTING:
            self._save_or_stop(trainer)

    def _save_or_stop(self, trainer: Trainer) -> None:
        """Save a checkpoint if one is due; if the run is to stop, save one and raise.

        :raises Interrupted: SIGINT was received
        :raises Terminated: SIGTERM or SIGHUP was received
        :raises OutOfTime: ``--max-duration`` is over
        :raises QatoolError: another process of this training is to stop; see :func:`agree_on_error`
        """
        try:
            self._stop.check()
            reason = None
        except QatoolError as asked:
            reason = asked
        # Every device must come to the same decision.
        if trainer.strategy.reduce_boolean_decision(reason is not None, all=False):
            ending = agree_on_error(reason)
            self._save(trainer)
            raise ending or QatoolError("another process of this training was asked to stop")
        due = self._clock() - self._last >= CHECKPOINT_SECONDS
        if trainer.strategy.reduce_boolean_decision(due, all=False):
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        with reporting(self._path):
            trainer.save_checkpoint(self._path)
        self._last = self._clock()


class OwnSignals(Callback):
    """Restores the handler of SIGTERM that Lightning replaces by its own.

    Lightning's handler communicates with the other processes, possibly in the middle of another exchange with them.
    """

    def __init__(self) -> None:
        self._listener = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the handler."""
        self._put_back()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the handler, as Lightning replaces it again for a validation after the end of training."""
        self._put_back()

    def _put_back(self) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._listener)


class Entry(NamedTuple):
    """A line of the record; ``None`` where nothing was measured."""

    step: int
    epoch: float
    loss: float | None = None
    learning_rate: float | None = None
    windows_per_second: float | None = None
    exact_match: float | None = None
    f1: float | None = None


class Record(Callback):
    """Records loss, learning rate, speed, EM and F1 over the steps, and writes them to a CSV file during the run.

    :param path: the CSV file; lines that an earlier start wrote about steps after its last checkpoint are dropped
    :param steps_per_epoch: steps per epoch, which need not be a whole number
    """

    def __init__(self, path: Path, *, steps_per_epoch: float) -> None:
        self._path = path
        self._steps_per_epoch = steps_per_epoch
        self._losses: list[Tensor] = []
        self._windows = 0
        self._since = time.monotonic()
        self.entries: list[Entry] = []
        self._is_begun = False
        """Whether the file holds all lines so far, so that the next one can be appended."""

    def state_dict(self) -> dict[str, Any]:
        """Return all lines, and the figures of the steps since the last one, for the checkpoint."""
        losses = [float(loss) for loss in self._losses]
        return {"entries": [list(entry) for entry in self.entries], "losses": losses, "windows": self._windows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from the state in a checkpoint."""
        self.entries = [Entry(*values) for values in state_dict["entries"]]
        self._losses = [torch.tensor(loss) for loss in state_dict["losses"]]
        self._windows = state_dict["windows"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._since = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write a line every few steps."""
        # The loss stays a tensor for now: reading its value would wait for the card at every step.
        self._losses.append(outputs["loss"].detach())
        self._windows += outputs["windows"] * trainer.world_size
        if len(self._losses) < RECORD_STEPS and trainer.global_step < trainer.max_steps:
            return
        now = time.monotonic()
        self._add(
            trainer,
            loss=sum(float(loss) for loss in self._losses) / len(self._losses),
            learning_rate=outputs["learning_rate"],
            windows_per_second=self._windows / max(now - self._since, 1e-9),
        )
        self._losses, self._windows, self._since = [], 0, now

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a line with EM and F1."""
        figures = getattr(pl_module, "figures", None)
        if figures is not None:
            self._add(trainer, exact_match=figures.exact, f1=figures.f1)
        self._since = time.monotonic()

    def validation(self, step: int) -> Entry | None:
        """Return the line of the first validation after a step, ``None`` where the run was killed before one."""
        return next((entry for entry in self.entries if entry.f1 is not None and entry.step == step), None)

    def _add(self, trainer: Trainer, **values: float) -> None:
        step = trainer.global_step
        self.entries.append(Entry(step, round(step / self._steps_per_epoch, 4), **values))
        if not trainer.is_global_zero:
            return
        if self._is_begun:
            with reporting(self._path), self._path.open("a", encoding="utf-8", newline="") as stream:
                csv.writer(stream).writerow(_shown(self.entries[-1]))
        else:
            self.write(self._path)
            self._is_begun = True

    def write(self, path: Path) -> None:
        """Write all lines as CSV.

        :raises OutputError: the file cannot be written
        """
        with reporting(path), path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(Entry._fields)
            writer.writerows(map(_shown, self.entries))


def _shown(entry: Entry) -> list[str | int]:
    return ["" if value is None else f"{value:.6g}" if isinstance(value, float) else value for value in entry]


class PlainLines(Callback):
    """Writes a plain line of progress at most every 30 s, also while validating, and one for every validation.

    :param stream: where lines are written to; ``None``: the log
    :param clock: returns seconds since some fixed moment
    """

    def __init__(self, stream: TextIO | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._last = clock()
        self._recent: deque[tuple[float, int]] = deque(maxlen=_RECENT)
        self._validation = _Validation(began=self._last, windows=0)
        self._validation_seconds: float | None = None
        """How long the last validation took."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write a line when one is due."""
        now = self._clock()
        self._recent.append((now, outputs["windows"] * trainer.world_size))
        if now - self._last < PLAIN_INTERVAL or len(self._recent) < 2:
            return
        seconds = now - self._recent[0][0]
        windows = sum(count for _, count in self._recent) - self._recent[0][1]
        left = self._left(trainer, seconds / (len(self._recent) - 1))
        self._write(
            f"step {trainer.global_step:,} of {trainer.max_steps:,}: loss {float(outputs['loss']):.3f}, "
            f"{windows / seconds:,.1f} windows/s, {left} left"
        )

    def _left(self, trainer: Trainer, step_seconds: float) -> str:
        """Return the time that is left after a step; validations are only counted until one was measured."""
        done, last = trainer.global_step, trainer.max_steps
        seconds = (last - done) * step_seconds
        every = int(trainer.val_check_batch or 1)
        # The validation of this step, if there is one, is still to come.
        validations = last // every - (done - 1) // every if trainer.enable_validation else 0
        if self._validation_seconds is not None:
            return duration(seconds + validations * self._validation_seconds)
        return f"{duration(seconds)} and {counted(validations, 'validation')}" if validations else duration(seconds)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the module tell how far the validation is."""
        module, data = cast("QuestionAnsweringModule", pl_module), cast("Any", trainer).datamodule
        self._validation = _Validation(began=self._clock(), windows=data.validation_windows)
        module.watch_validation(lambda windows: self._validated(trainer.global_step, windows))

    def _validated(self, step: int, windows: int) -> None:
        """Count windows that were read, and write a line when one is due."""
        validation, now = self._validation, self._clock()
        validation.read += windows
        if now - self._last < PLAIN_INTERVAL:
            return
        each = (now - validation.began) / validation.read
        self._write(
            f"step {step:,}: validating, {validation.read:,} of {counted(validation.windows, 'window')}, "
            f"{1 / each:,.1f} windows/s, {duration((validation.windows - validation.read) * each)} left"
        )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write EM and F1 of the validation."""
        figures = getattr(pl_module, "figures", None)
        if figures is not None:
            self._write(f"step {trainer.global_step:,}: EM {figures.exact:.2f}, F1 {figures.f1:.2f}")
        self._validation_seconds = self._clock() - self._validation.began
        self._recent.clear()

    def _write(self, line: str) -> None:
        self._last = self._clock()
        if self._stream is None:
            log_event("progress", text=line)
            return
        self._stream.write(f"{harmless(line)}\n")
        self._stream.flush()


@dataclass(kw_only=True)
class _Validation:
    """A validation in progress."""

    began: float
    windows: int
    """Windows that this device reads in all."""
    read: int = 0
