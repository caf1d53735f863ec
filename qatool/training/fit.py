"""Run Lightning's Trainer over a plan, from the start or from a checkpoint, and end with the best weights."""

from __future__ import annotations

import logging
import sys
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, RichProgressBar

from qatool.errors import EnvironmentUnfitError, UsageError, reason_of
from qatool.logs import log_event
from qatool.models.backend import BatchTooLargeError
from qatool.models.pytorch.memory import telling_too_large
from qatool.models.pytorch.torch_backend import cpu_has_bf16, has_bf16
from qatool.training.callbacks import Checkpoints, Entry, OwnSignals, PlainLines, Record
from qatool.training.checkpoints import WholeCheckpoints
from qatool.training.module import NotFiniteError
from qatool.training.movingaverage import MovingAverage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lightning.pytorch import Callback

    from qatool.jobs.stopping import Stop
    from qatool.options import FinetuneOptions
    from qatool.training.averaging import OtherWeights
    from qatool.training.data import QuestionAnsweringData
    from qatool.training.launch import Launch
    from qatool.training.module import QuestionAnsweringModule

_LIGHTNING_PRECISION: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
_LAST, _BEST = "last.ckpt", "best.ckpt"


@dataclass(frozen=True, kw_only=True)
class Run:
    """The devices, the folder and the length of a training."""

    launch: Launch
    """The processes that share the work, where a launcher started them."""
    folder: Path
    """The folder of checkpoints; if there is one of this run, the training continues from it."""
    steps: int
    """Number of optimiser steps in the whole run."""
    stop: Stop
    accelerator: str
    precision: str
    """``fp32``, ``bf16`` or ``fp16``."""
    bar: bool
    """Whether to show a progress bar, as on a terminal."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """The result of a training."""

    record: Record
    steps: int
    """Number of optimiser steps that were done."""
    best: Entry | None
    """The validation of the weights that were kept; ``None``: these are the last weights, or the moving average, and
    were not validated."""
    is_main: bool
    """Whether this process is the one that writes the model."""
    device: str


def resolve_precision(precision: str, accelerator: str) -> str:
    """Return the precision that ``--precision`` means on an accelerator: ``fp32``, ``bf16`` or ``fp16``.

    :raises EnvironmentUnfitError: ``fp16`` is asked for on a CPU
    """
    on_card = accelerator == "cuda"
    if precision == "fp16" and accelerator == "cpu":
        raise EnvironmentUnfitError("--precision fp16: cannot train on a CPU; use bf16 or fp32")
    if precision != "auto":
        return precision
    if on_card:
        return "bf16" if has_bf16() else "fp16"
    return "bf16" if accelerator == "cpu" and cpu_has_bf16() else "fp32"


def resolve_accelerator(accelerator: str) -> str:
    """Return the accelerator that ``--accelerator`` means on this machine: ``cuda``, ``mps`` or ``cpu``.

    :raises EnvironmentUnfitError: this machine has no such accelerator
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if accelerator == "auto":
        return next(name for name, is_there in there.items() if is_there)
    if not there[accelerator]:
        raise EnvironmentUnfitError(f"--accelerator {accelerator}: this machine has none; use --accelerator cpu")
    return accelerator


def fit(
    module: QuestionAnsweringModule,
    data: QuestionAnsweringData,
    options: FinetuneOptions,
    run: Run,
    others: OtherWeights | None = None,
) -> Fitted:
    """Train to the end, and leave the module with the best weights.

    :param others: weights to average the best ones with; the mean is then validated
    :raises Interrupted: and the other errors of :class:`~qatool.jobs.stopping.Stop`, after a checkpoint is saved
    :raises EnvironmentUnfitError: the device has too little memory, or the gradient became infinite or NaN
    :raises UsageError: Lightning knows no such devices or strategy, or they do not go together
    """
    record = Record(run.folder / "metrics.csv", steps_per_epoch=run.steps / options.epochs)
    best = _best_checkpoint(run.folder) if options.validation is not None else None
    averaging = None if options.moving_average is None else MovingAverage(options.moving_average)
    last = run.folder / _LAST
    with _quietly():
        callbacks = [record, *_callbacks(options, run, best, averaging)]
        with _naming_devices(options):
            trainer = _trainer(options, run, callbacks)
        if last.exists():
            log_event("training continues from its checkpoint", checkpoint=str(last))
        with _telling(run.folder):
            trainer.fit(module, datamodule=data, ckpt_path=str(last) if last.exists() else None, weights_only=True)
    if averaging is not None:
        averaging.exchange(module)
    found = None
    if best is not None:
        with run.launch.together():  # the first process removes the file later
            kept = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
        module.load_state_dict(kept["state_dict"])
        found = record.validation(kept["global_step"])
    if others is not None:
        others.average_into(module.model)
        if best is not None:
            with _quietly(), _telling(run.folder):
                trainer.validate(module, datamodule=data, verbose=False)
            found = record.entries[-1]
    return Fitted(
        record=record,
        steps=trainer.global_step,
        best=found,
        is_main=trainer.is_global_zero,
        device=str(trainer.strategy.root_device),
    )


def _best_checkpoint(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(
        dirpath=folder,
        filename=_BEST.removesuffix(".ckpt"),
        monitor="f1",
        mode="max",
        save_weights_only=True,
        # Only after validations; Lightning would else save at the end of the epoch where every step is validated.
        save_on_train_epoch_end=False,
        enable_version_counter=False,
    )


def _callbacks(
    options: FinetuneOptions, run: Run, best: ModelCheckpoint | None, averaging: MovingAverage | None
) -> Iterator[Callback]:
    """Yield the callbacks of the training, in the order in which they are called."""
    if best is not None:
        yield best
        if options.patience is not None:
            yield EarlyStopping("f1", mode="max", patience=options.patience, check_on_train_epoch_end=False)
    if run.bar:
        yield RichProgressBar()
    elif run.launch.is_main and not options.quiet and options.progress != "none":
        yield PlainLines(None if options.logs_json else sys.stderr)
    yield OwnSignals()
    if averaging is not None:
        yield averaging
    # Last of all, so that it saves the state of the other callbacks after the step.
    yield Checkpoints(run.folder / _LAST, run.stop)


def _trainer(options: FinetuneOptions, run: Run, callbacks: list[Callback]) -> Trainer:
    launch, validates = run.launch, options.validation is not None
    return Trainer(
        accelerator=run.accelerator,
        devices=_devices(options.devices or str(launch.devices)),
        num_nodes=launch.nodes,
        strategy="ddp" if launch.world > 1 and options.strategy == "auto" else options.strategy,
        plugins=list(_plugins(options, launch)),
        precision=_LIGHTNING_PRECISION[run.precision],
        max_epochs=1,
        max_steps=run.steps,
        val_check_interval=run.steps // (options.validations if validates else 1),
        limit_val_batches=1.0 if validates else 0,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=True,
        enable_model_summary=False,
        enable_progress_bar=run.bar,
        default_root_dir=run.folder,
    )


def _plugins(options: FinetuneOptions, launch: Launch) -> Iterator[Any]:
    if launch.environment is not None:
        yield launch.environment
    # Strategies that divide a model among devices write checkpoints of many files in their own way.
    if not options.strategy.startswith(("fsdp", "deepspeed")):
        yield WholeCheckpoints()


def _devices(given: str) -> int | str:
    try:
        return int(given)
    except ValueError:
        return given


@contextmanager
def _naming_devices(options: FinetuneOptions) -> Iterator[None]:
    """Turn errors while the trainer is made into one that names the options.

    :raises UsageError: Lightning knows no such devices or strategy, or they do not go together
    """
    try:
        yield
    except (ImportError, MisconfigurationException, TypeError, ValueError) as error:
        given = {"--accelerator": options.accelerator, "--devices": options.devices, "--strategy": options.strategy}
        named = " ".join(f"{flag} {value}" for flag, value in given.items() if value not in {None, "auto"})
        if not named:
            raise
        raise UsageError(f"{named}: Lightning cannot train so ({reason_of(error)}); name others") from None


@contextmanager
def _telling(folder: Path) -> Iterator[None]:
    """Turn errors of training or validation into one that says what the user can do.

    :raises EnvironmentUnfitError: the device has too little memory, or the gradient became infinite or NaN
    """
    try:
        with telling_too_large():
            yield
    except NotFiniteError as error:
        left = f"; the last good state is in {folder}" if (folder / _LAST).exists() else ""
        raise EnvironmentUnfitError(f"{error}: lower --learning-rate, or use --precision fp32{left}") from None
    except BatchTooLargeError as error:
        raise EnvironmentUnfitError(
            f"the device has no memory for a batch ({str(error).partition('.')[0]}); "
            "lower --batch-tokens, or --max-length"
        ) from None


@contextmanager
def _quietly() -> Iterator[None]:
    """Suppress what Lightning says about the machine and about its own use, except errors."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
