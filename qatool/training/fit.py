"""Run Lightning's Trainer over a plan, from the start or from a checkpoint, and come back with the best weights."""

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
    """Where a training takes place, and how far it goes."""

    launch: Launch
    """The processes that share the work, where a launcher started them."""
    folder: Path
    """Holds the checkpoints; a run whose checkpoint is there continues from it."""
    steps: int
    """Of the whole run."""
    stop: Stop
    accelerator: str
    precision: str
    """``fp32``, ``bf16`` or ``fp16``."""
    bar: bool
    """Whether to show a bar, for a terminal."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """How a run went."""

    record: Record
    steps: int
    """Done, of all."""
    best: Entry | None
    """The validation of the weights that were kept; ``None``: not validated, the last or their moving average."""
    is_main: bool
    """Whether this process is the one that writes."""
    device: str


def resolve_precision(precision: str, accelerator: str) -> str:
    """Return ``fp32``, ``bf16`` or ``fp16``, what ``auto`` means on an accelerator.

    :raises EnvironmentUnfitError: half precision on a CPU
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
    """Return ``cuda``, ``mps`` or ``cpu``.

    :raises EnvironmentUnfitError: this machine has none of it
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
    """Train to the end, or to where it must stop; afterwards the module has the best weights.

    :param others: weights that those kept are averaged with, and then validated again
    :raises Interrupted: and others of :class:`~qatool.jobs.stopping.Stop`, after a checkpoint
    :raises EnvironmentUnfitError: the device has too little memory, or numbers became infinite
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
        with run.launch.together():  # the first process removes the file in the end
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
        # Never at the end of the epoch, as Lightning would have it where every step is validated.
        save_on_train_epoch_end=False,
        enable_version_counter=False,
    )


def _callbacks(
    options: FinetuneOptions, run: Run, best: ModelCheckpoint | None, averaging: MovingAverage | None
) -> Iterator[Callback]:
    """Yield what goes along with the training, in the order in which it is called."""
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
    # Behind the other checkpoint, and so last of all: it saves what the others made of the step.
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
    # Those that share a model out write checkpoints of many files in their own way.
    if not options.strategy.startswith(("fsdp", "deepspeed")):
        yield WholeCheckpoints()


def _devices(given: str) -> int | str:
    try:
        return int(given)
    except ValueError:
        return given


@contextmanager
def _naming_devices(options: FinetuneOptions) -> Iterator[None]:
    """Make the trainer.

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
    """Train or validate.

    :raises EnvironmentUnfitError: the device has too little memory, or numbers became infinite
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
    """Keep Lightning's remarks on the machine and on how to use Lightning from the screen; its errors stay."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
