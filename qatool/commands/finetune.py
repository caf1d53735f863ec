"""``qatool finetune``: train a question-answering model with Lightning, and save it as transformers loads it."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qatool.commands.labelled import validation_questions
from qatool.commands.startingmodel import StartingModel
from qatool.commands.trainingfeatures import features_of
from qatool.errors import EnvironmentUnfitError, QualityGateError, UsageError
from qatool.features.layout import is_features
from qatool.files.examples.labels import LABEL_FIELDS
from qatool.files.output.partfolder import publish
from qatool.files.output.targets import Target, check_target, run_folder
from qatool.files.sources.rows import too_many_bad
from qatool.files.storage.atomic import temporaries_in
from qatool.files.storage.cache import cache_folder
from qatool.files.storage.locations import on_disk
from qatool.jobs.runfolder.claim import locked_folder
from qatool.jobs.runfolder.leftovers import remove_folder, restore
from qatool.jobs.runfolder.plan import PLAN_NAME, Plan
from qatool.jobs.stopping import Stop
from qatool.logs import log_event
from qatool.models.identity import model_fingerprint
from qatool.models.named import model_label
from qatool.observers import SilentObserver
from qatool.options.negatives import NEGATIVES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qatool.features.layout import Manifest
    from qatool.features.reader import FeaturesFolder
    from qatool.observers import Observer
    from qatool.options import FinetuneOptions
    from qatool.training.batches import StepPlan
    from qatool.training.callbacks import Entry
    from qatool.training.data import QuestionAnsweringData
    from qatool.training.fit import Fitted
    from qatool.training.launch import Launch
    from qatool.training.module import Recipe
    from qatool.training.teachers import Teachers
    from qatool.training.validation import Validator
    from qatool.training.windows import TrainingWindows

CPU_BATCH_TOKENS, CARD_BATCH_TOKENS = 16_384, 65_536
"""Default number of tokens in a micro-batch, padding included."""
_RECIPE = (
    "epochs", "learning_rate", "batch_size", "warmup", "weight_decay", "clip", "dropout", "seed", *NEGATIVES,
    "answers", "moving_average", "adversarial",
)  # fmt: skip
"""Options that determine the weights; they are part of the plan's identity and are listed in the model card."""


@dataclass(frozen=True, kw_only=True)
class FinetuneResult:
    """The outcome of a training."""

    folder: Path
    steps: int
    windows: int
    """Number of windows that an epoch reads, repetitions included."""
    best: Entry | None
    """The validation whose weights were kept; ``None`` without validation."""
    seconds: float
    device: str
    is_main: bool
    """Whether this process wrote the model; with several devices, only one does."""
    rejected: int
    """Number of bad rows in raw inputs, which were left out; those of features are not counted again."""


def run(options: FinetuneOptions, *, observer: Observer | None = None, bar: bool = False) -> FinetuneResult:
    """Train a model.

    :param observer: progress display for the preparation
    :param bar: whether to show Lightning's progress bar while training
    :raises QatoolError: see :mod:`qatool.errors`
    """
    for library in ("lightning", "datasets"):
        if find_spec(library) is None:
            raise EnvironmentUnfitError(f"finetune: needs {library}; run: pip install 'qatool[train]'")
    began = time.monotonic()
    output = on_disk(options.output, flag="-o")
    check_target(Target(kind="folder", path=output, holds="model"))
    stop = Stop(max_duration=options.max_seconds, label=options.max_duration or "")
    from qatool.training.fit import resolve_accelerator
    from qatool.training.launch import Launch

    launch = Launch.of_environment()
    launch.check_devices(options.devices)
    with stop.listening(), ExitStack() as stack:
        folder = run_folder(output)
        with stop.at_once():
            stack.enter_context(launch.joined(on_card=resolve_accelerator(options.accelerator) == "cuda"))
        with launch.together():
            if launch.is_main:
                stack.enter_context(locked_folder(folder, command=_COMMAND, also=_OWN))
                restore(output)
                stack.callback(_forget_unbegun, folder)
        with launch.together():
            watching = observer if observer is not None and launch.is_main else SilentObserver()
            training = _Training(options, launch, folder, stop, watching)
        fitted = training.fit(bar=bar and launch.is_main)
        best = fitted.best
        if fitted.is_main:
            training.save(fitted)
            publish(folder / _STAGING, output, holds="model")
            remove_folder(folder, also=_OWN)
    if options.min_f1 is not None and best is not None and (best.f1 or 0.0) < options.min_f1:
        raise QualityGateError(f"F1 {best.f1:.2f} is below --min-f1 {options.min_f1:g}; the model is in {output}")
    return FinetuneResult(
        folder=output,
        steps=fitted.steps,
        windows=int(training.plan.weights.sum()),
        best=best,
        seconds=time.monotonic() - began,
        device=fitted.device,
        is_main=fitted.is_main,
        rejected=training.rejected,
    )


_COMMAND = "finetune"
_STAGING = "model"
_OWN = ("features", _STAGING, "metrics.csv", "last.ckpt", "best.ckpt")
"""What a training run puts into its folder."""


def _forget_unbegun(folder: Path) -> None:
    """Remove plan and record of a run that ended before its first checkpoint, as there is nothing to continue."""
    if not any(folder.glob("*.ckpt")):
        for left in (folder / PLAN_NAME, *folder.glob("*.csv")):
            left.unlink(missing_ok=True)


class _Training:
    """One training run, from its options to its weights.

    :param launch: the processes that share the work, if a launcher such as torchrun started several
    :param folder: the run folder, with plan, checkpoints, and the model until it is moved to its place
    """

    def __init__(
        self, options: FinetuneOptions, launch: Launch, folder: Path, stop: Stop, observer: Observer
    ) -> None:
        self._options = options
        self._launch = launch
        self._folder = folder
        self._stop = stop
        self._observer = observer
        with stop.at_once():
            from qatool.training.fit import resolve_accelerator, resolve_precision

            self._accelerator = resolve_accelerator(options.accelerator)
            if options.compile and self._accelerator != "cuda":
                raise EnvironmentUnfitError("--compile: is for a CUDA card, and there is none to train on; drop it")
            self._precision = resolve_precision(options.precision, self._accelerator)
            self._base = StartingModel.load(options)
            self._base.check_others(options)
        self._features = self._all_features()
        most = options.max_errors
        if most is not None and self.rejected > most:
            raise too_many_bad(self.rejected, most)
        self._examples = validation_questions(self._options)
        self._windows = self._training_windows()
        self.plan = self._steps()
        self._continue_or_begin()
        self._model: Any = None

    @property
    def rejected(self) -> int:
        """The number of bad rows in raw inputs."""
        raw = (folder for name, folder in self._features if not is_features(Path(name)))
        return sum(folder.manifest.counts["rejected"] for folder in raw)

    def fit(self, *, bar: bool) -> Fitted:
        """Train the model; at the end, it has the weights to keep."""
        from qatool.training.averaging import OtherWeights
        from qatool.training.fit import Run, fit
        from qatool.training.loading import load_base
        from qatool.training.module import QuestionAnsweringModule
        from qatool.training.validation import Validator

        options, base = self._options, self._base
        validator = others = None
        with self._stop.at_once():
            self._model = load_base(
                base.name,
                dropout=options.dropout,
                seed=options.seed,
                on_card=self._accelerator != "cpu",
                trust_remote_code=options.trust_remote_code,
            )
            teachers = self._teachers()
            if options.average:
                others = OtherWeights.load(options.averages, self._model, trust_remote_code=options.trust_remote_code)
            if self._examples:
                validator = Validator(
                    self._model, self._examples, tokenizer=base.tokenizer, size=base.size, max_length=base.limit
                )
        log_event(
            "training",
            windows=int(self.plan.weights.sum()),
            steps=self.plan.steps,
            validation_examples=len(self._examples),
            accelerator=self._accelerator,
            precision=self._precision,
        )
        self._observer.finished()
        with nullcontext() if validator is None else closing(validator):
            return fit(
                QuestionAnsweringModule(self._model, self._recipe(), validator, teachers, compile=options.compile),
                self._data(validator),
                options,
                Run(
                    launch=self._launch,
                    folder=self._folder,
                    steps=self.plan.steps,
                    stop=self._stop,
                    accelerator=self._accelerator,
                    precision=self._precision,
                    bar=bar,
                ),
                others,
            )

    def _teachers(self) -> Teachers | None:
        if not self._options.teacher:
            return None
        import torch

        from qatool.training.teachers import Teachers

        in_half = self._precision == "bf16" and self._accelerator == "cuda"
        return Teachers.load(
            self._options.teacher,
            dtype=torch.bfloat16 if in_half else torch.float32,
            trust_remote_code=self._options.trust_remote_code,
        )

    def _recipe(self) -> Recipe:
        from qatool.training.module import Recipe

        options, steps = self._options, self.plan.steps
        return Recipe(
            learning_rate=options.learning_rate,
            weight_decay=options.weight_decay,
            clip=options.clip,
            steps=steps,
            warmup_steps=round(options.warmup * steps),
            seed=options.seed,
            teacher_weight=options.taught,
            adversarial=options.adversarial,
        )

    def _data(self, validator: Validator | None) -> QuestionAnsweringData:
        from qatool.training.data import QuestionAnsweringData

        tokens = CPU_BATCH_TOKENS if self._accelerator == "cpu" else CARD_BATCH_TOKENS
        return QuestionAnsweringData(
            self._windows,
            self.plan,
            batch_tokens=self._options.batch_tokens or tokens,
            shards=validator.shards if validator else (),
        )

    def save(self, fitted: Fitted) -> None:
        """Write the finished model into the run folder."""
        from qatool.training.saving import Trained, save_model

        options, base = self._options, self._base
        staging = self._folder / _STAGING
        shutil.rmtree(staging, ignore_errors=True)
        trained = Trained(
            base=model_label(base.name),
            size=base.size,
            options={name: getattr(options, name) for name in _RECIPE} | self._from_others(),
            data=[
                (Path(name).name, options.weights.get(name, 1.0), folder.manifest.counts)
                for name, folder in self._features
            ],
            validation=None if options.validation is None else Path(options.validation).name,
            steps=fitted.steps,
            device=fitted.device,
            precision=self._precision,
            best=fitted.best,
            knew_no_answer=base.knew_no_answer,
        )
        save_model(
            staging,
            self._model,
            tokenizer=base.name,
            trust_remote_code=options.trust_remote_code,
            record=fitted.record,
            trained=trained,
            half=options.half,
        )

    def _from_others(self) -> dict[str, Any]:
        """Return the model card's entries on teachers and averaged models."""
        options, told = self._options, dict[str, Any]()
        if options.teacher:
            told["teacher"] = ", ".join(map(model_label, options.teacher))
            told["teacher_weight"] = options.taught
        if options.average:
            told["average"] = ", ".join(f"{model_label(name)}={part:g}" for name, part in options.averages.items())
        return told

    def _all_features(self) -> list[tuple[str, FeaturesFolder]]:
        """Return each input and its features."""
        options, base = self._options, self._base
        found = []
        for name in options.inputs:
            folder = features_of(
                name,
                options,
                model=base.name,
                tokenizer=base.tokenizer,
                size=base.size,
                stop=self._stop,
                observer=self._observer,
            )
            found.append((name, folder))
        return found

    def _training_windows(self) -> TrainingWindows:
        from qatool.training.windows import TrainingWindows

        return TrainingWindows(
            [folder for _, folder in self._features],
            pad_token_id=self._base.tokenizer.pad_token_id,
            cache=cache_folder("arrow"),
            all_answers=self._options.answers == "all",
        )

    def _steps(self) -> StepPlan:
        from qatool.training.batches import StepPlan

        options = self._options
        weights = np.array([options.weights.get(name, 1.0) for name, _ in self._features])[self._windows.folder]
        if options.epochs * weights.sum() < 1:
            raise UsageError(f"--epochs {options.epochs:g}: is less than one window; raise it")
        return StepPlan(
            lengths=self._windows.lengths,
            weights=weights,
            batch_size=options.batch_size,
            epochs=options.epochs,
            parts=options.validations if self._examples else 1,
            seed=options.seed,
        )

    def _continue_or_begin(self) -> None:
        """Check that unfinished work, if there is any, is the same work; otherwise write a plan for new work.

        :raises ResumeRefusedError: the unfinished work has another identity
        """
        if not self._launch.is_main:
            return
        path = self._folder / PLAN_NAME
        for left in filter(Path.is_file, temporaries_in(self._folder)):  # of a run that was killed
            left.unlink(missing_ok=True)
        if self._options.restart:
            path.unlink(missing_ok=True)
            for left in self._folder.glob("*.ckpt"):
                # Strategies that share a model out write folders.
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        plan = Plan.load(path)
        # A plan without a checkpoint is of work that has nothing to continue.
        if plan is not None and any(self._folder.glob("*.ckpt")):
            plan.check_same_work(self._identity(), folder=self._folder)
            return
        Plan(identity=self._identity(), limits={}, output=self._options.output, command=_COMMAND).save(path)

    def _identity(self) -> Mapping[str, Any]:
        """Return everything that determines the weights."""
        options, base = self._options, self._base
        manifests: Sequence[Manifest] = [folder.manifest for _, folder in self._features]
        return {
            "model": model_fingerprint(base.name),
            "tokenizer": base.tokenizer.fingerprint,
            "max_length": base.size.max_length,
            "stride": base.size.stride,
            "train": [_digest(manifest.as_json()) for manifest in manifests],
            "train_weights": [options.weights.get(name, 1.0) for name in options.inputs],
            "validation": _digest(
                [[*example[:3], *map(example.kept.get, LABEL_FIELDS)] for example in self._examples]
            ),
            "validations": options.validations,
            "patience": options.patience,
            "precision": self._precision,
            "teachers": [model_fingerprint(name) for name in options.teacher],
            "teacher_weight": options.taught,
            "average": [[model_fingerprint(name), part] for name, part in options.averages.items()],
            "devices": options.devices or str(self._launch.world),
            **{name: getattr(options, name) for name in _RECIPE},
        }


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode("utf-8", "replace")).hexdigest()
