"""The model that a training starts from, as far as preparation needs it, and checks of the other models involved."""

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
    """Name, tokenizer and window sizes of the model to start from."""

    name: str
    tokenizer: PairTokenizer
    limit: int
    """Longest window that the model reads, in tokens."""
    size: WindowSize
    """Sizes of the training windows: those of features among the inputs, else those asked for."""
    knew_no_answer: bool
    """Whether the model's settings say that it was trained with unanswerable questions."""

    @classmethod
    def load(cls, options: FinetuneOptions) -> StartingModel:
        """Load tokenizer and configuration, and resolve the size of windows.

        :raises EnvironmentUnfitError: tokenizer or configuration do not load
        :raises InputError: features were made for another model, or have different window sizes
        :raises UsageError: the windows asked for are too long for the model, or are not those of the features
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
        """Check that teachers can read the training windows, and that models to average load.

        :raises UsageError: a teacher has another tokenizer, or cannot read windows of this length
        :raises EnvironmentUnfitError: a tokenizer or configuration does not load
        """
        problems = []
        for name in options.teacher:
            with _naming("--teacher"):
                tokenizer = PairTokenizer.load(name, trust_remote_code=options.trust_remote_code)
                config = load_config(name, trust_remote_code=options.trust_remote_code)
            limit = longest_input(config, tokenizer.model_max_length)
            alike = tokenizer.fingerprint == self.tokenizer.fingerprint
            # A teacher that uses token types needs them to find the context, and windows may lack them.
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
    """Return the window sizes of the features among the inputs, ``None`` if all inputs are raw.

    :param limit: longest window that the model reads, in tokens
    :raises InputError: features do not fit the model, or differ in window size
    :raises UsageError: other window sizes are asked for
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
    """Put the flag that named a model in front of errors inside the block.

    :raises EnvironmentUnfitError: the block raised one
    """
    try:
        yield
    except EnvironmentUnfitError as error:
        raise EnvironmentUnfitError(f"{flag} {error}") from None
