"""Make an extractor from options: load the model, resolve what the user left open, list what decides the answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from qatool.extraction.answering.answers import Decision
from qatool.extraction.answering.columns import AnswerColumns
from qatool.extraction.answering.extractor import Extractor
from qatool.extraction.answering.resolved import AnswerIdentity, Numerics, Resolved
from qatool.extraction.answering.shards import ShardLimits
from qatool.extraction.answering.stored import FeatureWindows
from qatool.models.loading import load_backend
from qatool.models.named import model_name
from qatool.models.settings import ModelSettings
from qatool.models.sizes import resolve_size
from qatool.options import DEFAULT_NO_ANSWER_THRESHOLD
from qatool.spans import characters
from qatool.spans.decode import decoder
from qatool.windows import choose

if TYPE_CHECKING:
    from qatool.features.reader import FeaturesFolder
    from qatool.models.backend import Backend
    from qatool.options import ExtractOptions
    from qatool.windows.cut import WindowSize
    from qatool.windows.tokenizer import PairTokenizer

# A shard is what a kill may cost: some minutes of work on the slowest machine we know.
CPU_SHARD = ShardLimits(rows=512, context_bytes=1 << 20)
# A card reads a shard in less than a second, and several are in progress at once.
CUDA_SHARD = ShardLimits(rows=8_192, context_bytes=16 << 20, first_rows=1_024)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The resolved options of an extraction, and the extractor that was made from them."""

    resolved: Resolved
    extractor: Extractor


def load_setup(
    options: ExtractOptions,
    *,
    planned: Numerics | None = None,
    features: FeaturesFolder | None = None,
) -> Setup:
    """Load tokenizer and model and resolve every option the user left open.

    The extractor has no ``--keep`` columns yet: those of standard input are known only once it is read.

    :param planned: the values of the plan that is being continued, ``None`` for a new one
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
    numerics = _numerics(options, backend, planned)
    return Setup(
        resolved=Resolved(
            identity=AnswerIdentity(
                model=backend.name if backend.name == "constant" else model_fingerprint(name),
                tokenizer=tokenizer.fingerprint,
                max_length=size.max_length,
                stride=size.stride,
                max_question_length=size.question_budget,
                max_windows=options.window_limit,
                rules_of_windows=choose.RULES,
                rules_of_spans=characters.RULES if options.decode == "native" else 0,
                max_answer_length=options.answer_length,
                decode=options.decode,
                top_k=options.top_k,
                calibration=settings.calibration,
                always_answer=decision.always_answer,
                no_answer_threshold=decision.no_answer_threshold,
            ),
            numerics=numerics,
            device=backend.device,
        ),
        extractor=Extractor(
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
            batch_tokens=numerics.batch_tokens,
            columns=AnswerColumns(documents=options.asks_documents, snippet=options.snippet, kept={}),
        ),
    )


def _decision(options: ExtractOptions, settings: ModelSettings) -> Decision:
    """Return the rule for "no answer": as the options ask, else as the model's settings say."""
    threshold = options.no_answer_threshold
    if threshold is None:
        threshold = settings.no_answer_threshold
    return Decision(
        always_answer=options.answers_always or (threshold is None and not settings.knows_no_answer),
        # A whole number, which Python code may give, would have another fingerprint than on the command line.
        no_answer_threshold=float(DEFAULT_NO_ANSWER_THRESHOLD if threshold is None else threshold),
    )


def as_planned(options: ExtractOptions, planned: Numerics | None) -> ExtractOptions:
    """Return the options with backend, device and precision of the plan where the user chose none."""
    if planned is None or options.backend != "auto" or options.device != "auto":
        return options
    changes: dict[str, Any] = {"backend": planned.backend, "device": planned.device_kind}
    if options.precision == "auto":
        changes["precision"] = planned.precision
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


def _numerics(options: ExtractOptions, backend: Backend, planned: Numerics | None) -> Numerics:
    """Resolve each value as the options ask, else as planned, else as suits the device."""
    on_card = backend.device.startswith("cuda")
    usual = CUDA_SHARD if on_card else CPU_SHARD
    # All shards are of one size with --shard-rows, and in plans made before shards began to grow.
    first_rows = planned.first_shard_rows if planned else usual.first_rows
    return Numerics(
        shard_rows=options.shard_rows or (planned.shard_rows if planned else usual.rows),
        first_shard_rows=None if options.shard_rows else first_rows,
        shard_bytes=planned.shard_bytes if planned else usual.context_bytes,
        batch_tokens=options.batch_tokens or (planned.batch_tokens if planned else backend.batch_tokens),
        backend=backend.name,
        device_kind=backend.device.partition(":")[0],
        precision=backend.precision,
        compile=options.compile if on_card else None,
        way=getattr(backend, "way", None) if on_card else None,
    )
