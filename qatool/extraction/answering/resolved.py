"""The options of an extraction, resolved on the machine that does the work: all that decides answers and scores."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import qatool
from qatool.extraction.answering.shards import ShardLimits
from qatool.spans.joint import JointScores

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qatool.options import Decode
    from qatool.spans.calibration import Calibration


@dataclass(frozen=True, kw_only=True)
class AnswerIdentity:
    """Everything besides the input that decides the answers: a run with another identity cannot continue this one."""

    model: str
    """Fingerprint of configuration and weights: SHA-256 (hex), or the name of a backend that has none."""
    tokenizer: str
    """Fingerprint of the tokenizer: SHA-256 (hex)."""
    max_length: int
    stride: int
    max_question_length: int
    max_windows: int | Literal["all", "auto"]
    rules_of_windows: int
    """Version of the rules by which windows are chosen."""
    rules_of_spans: int
    """Version of the rules for where answers start and end; 0: those of a reference program."""
    max_answer_length: int
    decode: Decode
    top_k: int
    calibration: Calibration
    always_answer: bool
    no_answer_threshold: float

    def as_json(self) -> dict[str, Any]:
        """Return all values by name, the calibration's among them, as plans and metadata hold them."""
        found: dict[str, Any] = {}
        for name, value in asdict(self).items():
            found |= value if name == "calibration" else {name: value}
        return found

    @property
    def options(self) -> dict[str, Any]:
        """All values but the fingerprints, as the metadata of the answers holds them."""
        return {name: value for name, value in self.as_json().items() if name not in {"model", "tokenizer"}}

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of all values."""
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()

    @property
    def joint_scores(self) -> JointScores | None:
        """How to turn the scores of many documents into one distribution; ``None`` where the decoder or the model's
        calibration does not allow it."""
        if self.decode != "native" or not self.calibration.answerable_slope:
            return None
        return JointScores(calibration=self.calibration)


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """Everything that decides the floating-point bits of the scores; plans and summaries call it ``limits``."""

    shard_rows: int
    """Most examples of a shard."""
    first_shard_rows: int | None = None
    """Examples of each of the first shards, after which they grow; ``None``: all have ``shard_rows``."""
    shard_bytes: int
    """Most bytes of context of a shard."""
    batch_tokens: int
    backend: str
    device_kind: str
    """``cpu`` or ``cuda``."""
    precision: str
    threads: int = 1
    """Threads of each batch; how many batches are read at once changes no bit."""
    compile: bool | None = None
    """Whether the model is compiled, ``None`` for a model that is on no card."""
    way: str | None = None
    """How windows are put into the model on a card."""

    @property
    def is_on_card(self) -> bool:
        """Whether a card reads the windows."""
        return self.device_kind != "cpu"

    def as_json(self) -> dict[str, Any]:
        """Return the values by name, as plans and summaries hold them; without those that mean nothing."""
        found = asdict(self)
        if self.first_shard_rows is None:
            del found["first_shard_rows"]
        if not self.is_on_card:
            del found["compile"], found["way"]
        return found

    @classmethod
    def of_plan(cls, limits: Mapping[str, Any]) -> Numerics | None:
        """Return the values of a plan, ``None`` if it lacks some."""
        names = {one.name for one in fields(cls)}
        try:
            return cls(**{name: value for name, value in limits.items() if name in names})
        except TypeError:
            return None


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """The resolved options; small enough to send to a process."""

    identity: AnswerIdentity
    numerics: Numerics
    device: str
    """The device in words, such as ``cpu`` or ``cuda:0``."""
    version: str = qatool.__version__

    @property
    def shard_limits(self) -> ShardLimits:
        """The limits at which a shard ends."""
        return ShardLimits(
            rows=self.numerics.shard_rows,
            context_bytes=self.numerics.shard_bytes,
            first_rows=self.numerics.first_shard_rows,
            each_row_counts=self.identity.max_windows == "all",
        )
