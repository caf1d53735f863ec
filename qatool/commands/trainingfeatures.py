"""Features to train on: used as they are, or made from raw files and cached for later runs."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from qatool.commands import prep
from qatool.errors import LockedError, OutputError, UsageError
from qatool.features.layout import is_features
from qatool.features.reader import FeaturesFolder
from qatool.features.writer import input_hashes
from qatool.files.output.own import without_own
from qatool.files.sources.paths import resolve
from qatool.files.storage.cache import CACHE_VARIABLE, cache_folder
from qatool.logs import log_event
from qatool.options import PrepOptions

if TYPE_CHECKING:
    from qatool.jobs.stopping import Stop
    from qatool.observers import Observer
    from qatool.options import FinetuneOptions
    from qatool.windows.cut import WindowSize
    from qatool.windows.tokenizer import PairTokenizer

_FORMAT = 5
"""Version of the features in the cache; raised whenever the same input gives other features."""
_WAIT_SECONDS = 0.5


def features_of(
    name: str,
    options: FinetuneOptions,
    *,
    model: str,
    tokenizer: PairTokenizer,
    size: WindowSize,
    stop: Stop,
    observer: Observer,
) -> FeaturesFolder:
    """Return the features of an input, made now unless the cache has them.

    :param name: a folder of features, or any input of ``qatool prep``
    :raises InputError: the input cannot be used
    :raises OutputError: the cache cannot be written
    :raises UsageError: ``--limit`` is given for a folder of features
    """
    if is_features(Path(name)):
        made = FeaturesFolder(Path(name))
        if options.limit is not None:
            raise UsageError(f"--limit {options.limit}: the features in {name} are all read; drop it")
        as_made = {share: getattr(made.manifest, share) for share in options.negatives}
        if options.negatives not in (as_made, dict.fromkeys(as_made, 0.0)):
            log_event("features stay as they were made", level=logging.WARNING, folder=name, **as_made)
        return made
    try:
        folder = cache_folder("features") / _key(name, options, tokenizer, size)
    except OSError as error:
        raise OutputError(
            f"{error.filename}: cannot be made ({error.strerror}); name another folder with {CACHE_VARIABLE}"
        ) from None
    while not is_features(folder):
        try:
            made_with = _prep_options(name, options, model=model, size=size, output=folder)
            prep.run(made_with, observer=observer, written=[options.output], stop=stop)
        except LockedError:
            # Another process is making the same features: wait for it.
            stop.check()
            time.sleep(_WAIT_SECONDS)
    return FeaturesFolder(folder)


def _key(name: str, options: FinetuneOptions, tokenizer: PairTokenizer, size: WindowSize) -> str:
    """Return a name for the cache: a hash of everything that determines the features."""
    # A folder of inputs may also hold the model of an earlier run.
    sources = without_own(resolve([name]), [name], written=[options.output], log_file=options.log_file)
    content = [[one["name"], one["sha256"]] for one in input_hashes(sources)]
    made_of = {
        "format": _FORMAT,
        "tokenizer": tokenizer.fingerprint,
        "token_types": tokenizer.uses_token_types,
        "size": [size.max_length, size.stride, size.question_budget],
        "inputs": content,
        "negatives": options.negatives,
        "answers": options.answers,
        "column": options.column,
        "limit": options.limit,
        "on_error": options.on_error,
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:32]


def _prep_options(name: str, options: FinetuneOptions, *, model: str, size: WindowSize, output: Path) -> PrepOptions:
    return PrepOptions(
        inputs=(name,),
        output=str(output),
        model=model,
        trust_remote_code=options.trust_remote_code,
        max_length=size.max_length,
        stride=size.stride,
        max_question_length=size.question_budget,
        other_contexts=options.other_contexts,
        cut_contexts=options.cut_contexts,
        altered_questions=options.altered_questions,
        answers=options.answers,
        column=options.column,
        limit=options.limit,
        on_error=options.on_error,
        max_errors=options.max_errors,
        log_file=options.log_file,
    )
