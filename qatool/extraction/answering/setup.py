"""Make an extractor from options: load the model, resolve what the user left open, list what decides the answers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import qatool
from qatool.extraction.answering.answers import Decision
from qatool.extraction.answering.columns import AnswerColumns
from qatool.extraction.answering.extractor import Extractor
from qatool.extraction.answering.shards import ShardLimits
from qatool.extraction.answering.stored import FeatureWindows
from qatool.models.loading import load_backend
from qatool.models.named import model_name
from qatool.models.settings import ModelSettings
from qatool.models.sizes import resolve_size
from qatool.options import DEFAULT_NO_ANSWER_THRESHOLD, ExtractOptions
from qatool.spans.calibration import Calibration
from qatool.spans.decode import decoder
from qatool.spans.joint import JointScores
from qatool.windows.choose import RULES

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from qatool.features.reader import FeaturesFolder
    from qatool.jobs.runfolder.plan import Plan
    from qatool.models.backend import Backend
    from qatool.windows.cut import WindowSize
    from qatool.windows.tokenizer import PairTokenizer

# A shard is what a kill may cost: some minutes of work on the slowest machine we know.
CPU_SHARD = ShardLimits(rows=512, context_bytes=1 << 20)
# A card reads a shard in less than a second, and several are in progress at once.
CUDA_SHARD = ShardLimits(rows=8_192, context_bytes=16 << 20, first_rows=1_024)


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """The options of an extraction, resolved on the machine that does the work; small enough to send to a process."""

    identity: Mapping[str, Any]
    """Everything that decides the answers: a run with another identity cannot continue this one."""
    limits: Mapping[str, Any]
    """Everything that decides the floating-point bits of the scores, such as batch size, device and precision."""
    model_fingerprint: str
    backend: str
    device: str
    precision: str
    version: str = qatool.__version__

    @property
    def answer_fingerprint(self) -> str:
        """SHA-256 (hex) of :attr:`identity`."""
        return hashlib.sha256(json.dumps(dict(self.identity), sort_keys=True).encode()).hexdigest()

    @property
    def joint_scores(self) -> JointScores | None:
        """How to turn the scores of many documents into one distribution; ``None`` where the decoder or the model's
        calibration does not allow it."""
        calibration = Calibration(**{one.name: self.identity[one.name] for one in fields(Calibration)})
        if self.identity["decode"] != "native" or not calibration.answerable_slope:
            return None
        return JointScores(calibration=calibration)

    @property
    def shard_limits(self) -> ShardLimits:
        """The limits at which a shard ends."""
        return ShardLimits(
            rows=self.limits["shard_rows"],
            context_bytes=self.limits["shard_bytes"],
            first_rows=self.limits.get("first_shard_rows"),
            each_row_counts=self.identity["max_windows"] == "all",
        )


@dataclass(frozen=True, kw_only=True)
class Setup(Resolved):
    """The resolved options together with the extractor that was made from them."""

    extractor: Extractor

    def resolved(self) -> Resolved:
        """Return the resolved options without the extractor."""
        return Resolved(**{field.name: getattr(self, field.name) for field in fields(Resolved)})


def load_setup(
    options: ExtractOptions,
    *,
    planned: Mapping[str, Any],
    kept: Mapping[str, pa.DataType | None],
    features: FeaturesFolder | None = None,
) -> Setup:
    """Load tokenizer and model and resolve every option the user left open.

    :param planned: limits of the plan that is being continued, empty for a new one
    :param kept: the ``--keep`` columns and their declared types
    :param features: the folder that holds the windows, ``None`` where they are cut from the texts
    :raises EnvironmentUnfitError: the model does not load
    :raises InputError: the features were made for another model
    :raises UsageError: the options ask for a window size that the model cannot read, or that the features do not have
    """
    from qatool.models.identity import model_fingerprint
    from qatool.windows.tokenizer import PairTokenizer

    name = model_name(options.model)
    settings = ModelSettings.load(name)
    tokenizer = PairTokenizer.load(name, trust_remote_code=options.trust_remote_code)
    stored = None if features is None else FeatureWindows(features, tokenizer, options)
    backend = load_backend(
        name,
        backend=options.backend,
        device=options.device,
        precision=options.precision,
        tokenizer_limit=tokenizer.model_max_length,
        workers=options.workers,
        compile=options.compile,
        allow_pickle=options.allow_pickle,
        trust_remote_code=options.trust_remote_code,
    )
    if stored is None:
        size = window_size(options, settings, tokenizer, limit=backend.max_length)
    else:
        stored.check_limit(backend.max_length)
        size = stored.size
    decision = _decision(options, settings)
    fingerprint = backend.name if backend.name == "constant" else model_fingerprint(name)
    identity = {
        "model": fingerprint,
        "tokenizer": tokenizer.fingerprint,
        **_identity_of(options, settings, size, decision),
    }
    limits = _limits(options, backend, planned)
    extractor = Extractor(
        tokenizer=tokenizer,
        backend=backend,
        decoder=decoder(
            options.decode,
            top_k=options.top_k,
            max_answer_length=options.answer_length,
            calibration=settings.calibration,
        ),
        decision=decision,
        size=size,
        stored=stored,
        max_windows=options.window_limit,
        batch_tokens=limits["batch_tokens"],
        columns=AnswerColumns(documents=options.asks_documents, snippet=options.snippet, kept=kept),
    )
    return Setup(
        extractor=extractor,
        identity=identity,
        limits=limits,
        model_fingerprint=fingerprint,
        backend=backend.name,
        device=backend.device,
        precision=backend.precision,
    )


def _identity_of(
    options: ExtractOptions, settings: ModelSettings, size: WindowSize, decision: Decision
) -> dict[str, Any]:
    """Return the options that, besides the model and its tokenizer, decide the answers."""
    return {
        "max_length": size.max_length,
        "stride": size.stride,
        "max_question_length": size.question_budget,
        "max_windows": options.window_limit,
        "rules_of_windows": RULES,
        "max_answer_length": options.answer_length,
        "decode": options.decode,
        "top_k": options.top_k,
        **asdict(settings.calibration),
        "always_answer": decision.always_answer,
        "no_answer_threshold": decision.no_answer_threshold,
    }


def _decision(options: ExtractOptions, settings: ModelSettings) -> Decision:
    """Return the rule for "no answer": as the options ask, else as the model's settings say."""
    threshold = options.no_answer_threshold
    if threshold is None:
        threshold = settings.no_answer_threshold
    return Decision(
        always_answer=options.answers_always or (threshold is None and not settings.knows_no_answer),
        no_answer_threshold=DEFAULT_NO_ANSWER_THRESHOLD if threshold is None else threshold,
    )


def as_planned(options: ExtractOptions, plan: Plan | None) -> ExtractOptions:
    """Return the options with backend, device and precision of the plan where the user chose none."""
    if plan is None:
        return options
    limits = plan.limits
    changes: dict[str, Any] = {}
    if options.backend == "auto" and options.device == "auto":
        changes = {"backend": limits["backend"], "device": limits["device_kind"]}
        if options.precision == "auto":
            changes["precision"] = limits["precision"]
    return replace(options, **changes)


def window_size(
    options: ExtractOptions, settings: ModelSettings, tokenizer: PairTokenizer, *, limit: int
) -> WindowSize:
    """Resolve the size of windows.

    :param limit: longest window the model can read, in tokens
    :raises UsageError: ``--max-length`` exceeds the limit, or a window has no room for a question
    """
    return resolve_size(
        options,
        settings,
        n_special=tokenizer.template.n_special,
        limit=limit,
        max_question_length=options.question_length,
    )


def _limits(options: ExtractOptions, backend: Backend, planned: Mapping[str, Any]) -> dict[str, Any]:
    """Resolve the limits, each as the options ask, else as planned, else as suits the device."""
    on_card = backend.device.startswith("cuda")
    shard = CUDA_SHARD if on_card else CPU_SHARD
    # All shards are of one size with --shard-rows, and in plans made before shards began to grow.
    as_usual = {"first_shard_rows": shard.first_rows}
    first_rows = None if options.shard_rows else (planned or as_usual).get("first_shard_rows")
    return {
        "shard_rows": options.shard_rows or planned.get("shard_rows") or shard.rows,
        **({"first_shard_rows": first_rows} if first_rows else {}),
        "shard_bytes": planned.get("shard_bytes") or shard.context_bytes,
        "batch_tokens": options.batch_tokens or planned.get("batch_tokens") or backend.batch_tokens,
        "backend": backend.name,
        "device_kind": backend.device.partition(":")[0],
        "precision": backend.precision,
        # Threads of each batch; how many batches are read at once changes no bit.
        "threads": 1,
        **({"compile": options.compile, "way": getattr(backend, "way", None)} if on_card else {}),
    }
