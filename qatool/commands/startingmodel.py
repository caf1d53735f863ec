"""The model that a training starts from, as far as preparing for it goes, and the models that it learns from."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qatool.errors import EnvironmentUnfitError, InputError, UsageError
from qatool.features.layout import is_features
from qatool.features.reader import FeaturesFolder
from qatool.models.companions import load_config
from qatool.models.named import model_name
from qatool.models.settings import ModelSettings, learnt_no_answer, longest_input
from qatool.models.sizes import resolve_size
from qatool.options import DECODE_PRESETS
from qatool.windows.tokenizer import PairTokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qatool.options import FinetuneOptions
    from qatool.windows.cut import WindowSize


@dataclass(frozen=True, kw_only=True)
class StartingModel:
    """Name, tokenizer and windows of the model to start from."""

    name: str
    tokenizer: PairTokenizer
    limit: int
    """Longest window it reads, in tokens."""
    size: WindowSize
    """Of the windows to learn from: as features among the inputs have it, else as it was asked for."""
    knew_no_answer: bool
    """Whether its settings say that it learnt from unanswerable questions."""

    @classmethod
    def load(cls, options: FinetuneOptions) -> StartingModel:
        """Load tokenizer and configuration and resolve the size of windows.

        :raises EnvironmentUnfitError: tokenizer or configuration do not load
        :raises InputError: features were made for another model, or with windows of several sizes
        :raises UsageError: windows larger than the model reads, or other ones than the features have
        """
        name = model_name(options.model)
        tokenizer = PairTokenizer.load(name, trust_remote_code=options.trust_remote_code)
        config = load_config(name, trust_remote_code=options.trust_remote_code)
        limit = longest_input(config, tokenizer.model_max_length)
        size = _size_of_features(options, tokenizer, limit) or resolve_size(
            options,
            ModelSettings.load(name),
            n_special=tokenizer.template.n_special,
            limit=limit,
            max_question_length=options.max_question_length or DECODE_PRESETS["native"].max_question_length,
        )
        knew = learnt_no_answer(name)
        return cls(name=name, tokenizer=tokenizer, limit=limit, size=size, knew_no_answer=knew)

    def check_others(self, options: FinetuneOptions) -> None:
        """Make sure that teachers read the very windows that are learnt from, and that what is averaged is a model.

        :raises UsageError: a teacher has another tokenizer, or reads less
        :raises EnvironmentUnfitError: a tokenizer or configuration does not load
        """
        problems = []
        for name in options.teacher:
            with _naming("--teacher"):
                tokenizer = PairTokenizer.load(name, trust_remote_code=options.trust_remote_code)
                config = load_config(name, trust_remote_code=options.trust_remote_code)
            limit = longest_input(config, tokenizer.model_max_length)
            alike = tokenizer.fingerprint == self.tokenizer.fingerprint
            # Made without them, windows would tell such a teacher nothing of where the context begins.
            if not alike or (tokenizer.uses_token_types and not self.tokenizer.uses_token_types):
                problems.append(f"--teacher {name}: has another tokenizer than --model; name one with the same")
            elif limit < self.size.max_length:
                problems.append(
                    f"--teacher {name}: reads at most {limit} tokens, and windows have up to "
                    f"{self.size.max_length}; lower --max-length"
                )
        for name in options.averages:
            with _naming("--average"):
                load_config(name, trust_remote_code=options.trust_remote_code)
        if problems:
            raise UsageError(*problems)


def _size_of_features(options: FinetuneOptions, tokenizer: PairTokenizer, limit: int) -> WindowSize | None:
    """Return how the windows of the features among the inputs were cut, ``None`` where all inputs are raw.

    :raises InputError: they do not suit the model, or each other
    :raises UsageError: other windows are asked for
    """
    folders = [FeaturesFolder(Path(name)) for name in options.inputs if is_features(Path(name))]
    for folder in folders:
        folder.check_tokenizer(tokenizer)
        folder.check_token_types(tokenizer)
        folder.check_limit(limit)
        folder.check_size(options, n_special=tokenizer.template.n_special)
        if folder.size != folders[0].size:
            raise InputError(
                f"{folder.path}: holds windows of other sizes than {folders[0].path} ({_told(folder.size)} and "
                f"{_told(folders[0].size)}); make one of them again like the other"
            )
    return folders[0].size if folders else None


def _told(size: WindowSize) -> str:
    return f"--max-length {size.max_length} --stride {size.stride} --max-question-length {size.question_budget}"


@contextmanager
def _naming(flag: str) -> Iterator[None]:
    """Load something of a model that a flag names.

    :raises EnvironmentUnfitError: it does not load
    """
    try:
        yield
    except EnvironmentUnfitError as error:
        raise EnvironmentUnfitError(f"{flag} {error}") from None


def model_label(model: str) -> str:
    """Return what a model card calls a model: the name of its folder, or its hub id."""
    return Path(model).name if Path(model).is_dir() else model
