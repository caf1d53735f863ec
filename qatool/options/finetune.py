"""Options of ``qatool finetune``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from qatool.errors import UsageError
from qatool.options.checks import clash_problems, duration_problems, least_problems, seconds_of
from qatool.options.flags import Flag, argument, option, required, settle
from qatool.options.negatives import NegativeOptions
from qatool.options.shared import TRUST_REMOTE_CODE

Accelerator = Literal["auto", "cpu", "cuda", "mps"]
DEFAULT_TEACHER_WEIGHT = 0.5
TrainingPrecision = Literal["auto", "fp32", "bf16", "fp16"]


_DEVICES = re.compile(r"auto|-1|0*[1-9]\d*|\d+(,\d+)+,?|\d+,")


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions(NegativeOptions):
    """Options of ``qatool finetune``.

    :raises UsageError: a value or a combination makes no sense; names every problem found.
    """

    inputs: tuple[str, ...] = argument(
        Flag("Labelled files, folders or globs, or folders that qatool prep made.", "Input", metavar="TRAIN")
    )
    output: str = required(Flag("The folder that the model goes to.", "Output", short="-o", metavar="MODEL"))
    validation: str | None = option(
        Flag("Labelled questions whose EM and F1 choose the best weights.", "Input", metavar="DEV")
    )
    train_weight: tuple[str, ...] = option(
        Flag("Read the windows of FILE W times per epoch; repeatable.", "Input", metavar="FILE=W"), default=()
    )
    answers: Literal["first", "all"] = option(
        Flag(
            "If a question has several answers, learn the first, or all of them, weighted by their shares.", "Input"
        ),
        default="first",
    )

    model: str | None = option(
        Flag(
            "Folder or hub id to start from; without it the model that ships with qatool [env: QATOOL_MODEL].",
            "Model",
            metavar="DIR|HUB_ID",
            env="QATOOL_MODEL",
        )
    )
    dropout: float | None = option(
        Flag("Dropout probability everywhere in the model [default: as the model has it].", "Model", metavar="P")
    )
    teacher: tuple[str, ...] = option(
        Flag(
            "Also learn from the answers of this model (of several: from their mean); repeatable.",
            "Model",
            metavar="DIR|HUB_ID",
        ),
        default=(),
    )
    teacher_weight: float | None = option(
        Flag(
            "Share of the loss that comes from the teachers, 0 to 1; the rest is from the labels [default: 0.5].",
            "Model",
            metavar="W",
        )
    )
    average: tuple[str, ...] = option(
        Flag(
            "Write the mean of the trained weights and this model's, weighted W [default: equal shares]; repeatable.",
            "Model",
            metavar="DIR|HUB_ID[=W]",
        ),
        default=(),
    )
    moving_average: float | None = option(
        Flag(
            "Validate and write the moving average of the weights, with decay D per step, such as 0.998.",
            "Model",
            metavar="D",
        )
    )
    half: bool = option(Flag("Write the weights in half precision.", "Model"), default=False)
    trust_remote_code: bool = option(TRUST_REMOTE_CODE, default=False)

    epochs: float = option(Flag("How often all windows are read.", "Training", metavar="E"), default=1.0)
    learning_rate: float = option(Flag("Highest learning rate, after the warm-up.", "Training"), default=3e-5)
    batch_size: int = option(Flag("Windows per optimiser step, over all devices.", "Training"), default=32)
    batch_tokens: int | None = option(
        Flag(
            "Tokens read at once, padding included; a step that has more is accumulated.",
            "Training",
            metavar="auto|N",
            auto=True,
        )
    )
    adversarial: float = option(
        Flag(
            "Also learn from each step with the embeddings of each window moved against the model by this much, such "
            "as 0.5; takes twice the time.",
            "Training",
            metavar="EPS",
        ),
        default=0.0,
    )
    warmup: float = option(Flag("Share of the steps during which the learning rate rises.", "Training"), default=0.1)
    weight_decay: float = option(Flag("Weight decay, not applied to biases and norms.", "Training"), default=0.01)
    clip: float = option(Flag("Largest norm of the gradient.", "Training"), default=1.0)
    seed: int = option(Flag("Random seed of the order, a fresh head and dropout.", "Training"), default=0)

    validations: int = option(
        Flag("How often DEV is evaluated, evenly over the run.", "Validation", metavar="N"), default=4
    )
    patience: int | None = option(
        Flag("Stop after N validations in a row without a better F1.", "Validation", metavar="N")
    )
    min_f1: float | None = option(
        Flag("Fail (exit code 10) when the best F1 is below this, in per cent.", "Validation")
    )

    accelerator: Accelerator = option(Flag("Kind of device, as Lightning names it.", "Device"), default="auto")
    devices: str | None = option(
        Flag(
            "How many devices, or which, as Lightning takes them [default: 1, or as torchrun or SLURM says].",
            "Device",
            metavar="N",
        )
    )
    strategy: str = option(Flag("How devices share the work, as Lightning names it.", "Device"), default="auto")
    precision: TrainingPrecision = option(
        Flag("Arithmetic; auto: bf16 where the device has it, else fp16 on a card.", "Device"), default="auto"
    )
    compile: bool = option(
        Flag("Compile the model for a card; takes time at the start.", "Device", rivals=("adversarial",)),
        default=False,
    )

    max_duration: str | None = option(
        Flag("Stop after this time; the same command continues. For example 50m or 8h.", "Run", metavar="TIME")
    )
    restart: bool = option(Flag("Discard unfinished work and start over.", "Run"), default=False)

    @property
    def max_seconds(self) -> float | None:
        """``--max-duration`` in seconds."""
        return None if self.max_duration is None else seconds_of(self.max_duration)

    @property
    def taught(self) -> float:
        """The share of the loss that comes from the teachers, in [0, 1]; 0 without teachers."""
        if not self.teacher:
            return 0.0
        return DEFAULT_TEACHER_WEIGHT if self.teacher_weight is None else self.teacher_weight

    @property
    def averages(self) -> dict[str, float]:
        """The weight of each model of ``--average`` in the mean, by model; the trained model has the rest."""
        parts = dict(_name_and_part(one) for one in self.average)
        return {name: 1 / (len(parts) + 1) if part is None else part for name, part in parts.items()}

    @property
    def weights(self) -> dict[str, float]:
        """The values of ``--train-weight``, by file."""
        return {file: float(weight) for file, _, weight in (one.rpartition("=") for one in self.train_weight)}

    def __post_init__(self) -> None:
        settle(self)
        problems = [
            *self._range_problems(),
            *least_problems(self, 1, "batch_size", "batch_tokens", "validations", "patience"),
            *least_problems(self, 0, "weight_decay", "seed"),
            *self._row_problems(self.inputs),
            *self._combination_problems(),
            *self._negative_problems(),
            *self._number_problems(),
            *self._weight_problems(),
            *self._average_problems(),
            *self._device_problems(),
        ]
        problems += clash_problems({"--validation": self.validation}, {"--log-file": self.log_file})
        models = {"--model": self.model, **{f"--teacher {name}": name for name in self.teacher}}
        models |= {f"--average {name}": name for name in self.averages}
        problems += clash_problems(models, {"-o": self.output})
        if self.output == "-":
            problems.append("-o -: a model is a folder and cannot go to standard output; name a folder")
        if "-" in self.inputs:
            problems.append("TRAIN -: training cannot read standard input; name a file")
        problems += duration_problems("max-duration", self.max_duration)
        if self.validation is None:
            problems += [
                f"--{name.replace('_', '-')}: needs questions to evaluate; add --validation DEV"
                for name in ("patience", "min_f1")
                if getattr(self, name) is not None
            ]
        if self.adversarial and self.compile:
            problems.append("--adversarial: cannot be compiled; drop --compile")
        if self.teacher_weight is not None and not self.teacher:
            problems.append("--teacher-weight: needs someone to learn from; add --teacher MODEL")
        problems += [
            f"--{flag}: names no model; give a folder or a hub id"
            for flag, names in (("teacher", self.teacher), ("average", self.averages))
            if not all(names)
        ]
        if problems:
            raise UsageError(*problems)

    def _number_problems(self) -> list[str]:
        sensible = {
            "epochs": self.epochs > 0,
            "learning_rate": self.learning_rate > 0,
            "clip": self.clip > 0,
            "warmup": 0 <= self.warmup <= 1,
            "teacher_weight": self.teacher_weight is None or 0 <= self.teacher_weight <= 1,
            "dropout": self.dropout is None or 0 <= self.dropout < 1,
            "moving_average": self.moving_average is None or 0 < self.moving_average < 1,
            "adversarial": self.adversarial >= 0,
            "min_f1": self.min_f1 is None or 0 <= self.min_f1 <= 100,
        }
        return [
            f"--{name.replace('_', '-')} {getattr(self, name)}: is out of range; {_RANGES[name]}"
            for name, fine in sensible.items()
            if not fine or not math.isfinite(getattr(self, name) or 0.0)
        ]

    def _weight_problems(self) -> list[str]:
        problems = []
        for given in self.train_weight:
            file, _, weight = given.rpartition("=")
            try:
                is_fine = bool(file) and 0 < float(weight) < math.inf
            except ValueError:
                is_fine = False
            if not is_fine:
                problems.append(
                    f"--train-weight {given!r}: not of the form FILE=W with a number above 0; for example a.jsonl=2"
                )
            elif file not in self.inputs:
                problems.append(f"--train-weight {given!r}: {file} is no TRAIN; name it exactly as given there")
        return problems

    def _device_problems(self) -> list[str]:
        if self.devices is None or _DEVICES.fullmatch(self.devices.replace(" ", "")):
            return []
        return [f"--devices {self.devices}: is no number of devices; write 2, a list like 0,1 (or 1,), or auto"]

    def _average_problems(self) -> list[str]:
        parts = self.averages.values()
        if len(parts) < len(self.average):
            return ["--average: names a model twice; name each once"]
        if not all(part > 0 for part in parts) or sum(parts) >= 1:
            given = ", ".join(self.average)
            return [f"--average {given}: parts must be above 0 and together below 1; the rest is the trained model's"]
        return []


def _name_and_part(given: str) -> tuple[str, float | None]:
    """Return the model and the weight of ``MODEL=W``; ``None`` as weight if what follows the last ``=`` is no number.

    A path may contain ``=``, too.
    """
    name, sign, part = given.rpartition("=")
    try:
        return (name, float(part)) if sign and name else (given, None)
    except ValueError:
        return given, None


_RANGES = {
    "epochs": "give a number above 0",
    "learning_rate": "give a number above 0, such as 3e-5",
    "clip": "give a number above 0",
    "warmup": "is a share; give a number from 0 to 1",
    "teacher_weight": "is a share; give a number from 0 to 1",
    "dropout": "give a number from 0 to less than 1",
    "moving_average": "give a number between 0 and 1, such as 0.998",
    "adversarial": "give a number from 0, such as 0.5",
    "min_f1": "is in per cent; give a number from 0 to 100",
}
