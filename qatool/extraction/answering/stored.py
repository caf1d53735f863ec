"""Windows read from features instead of cut from texts: whether they suit the model, and those of a shard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qatool.errors import InputError
from qatool.features.restore import UnlikeTextsError, restore_windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from qatool.features.reader import FeaturesFolder
    from qatool.options import ExtractOptions
    from qatool.windows.assemble import WindowedExamples
    from qatool.windows.tokenizer import PairTokenizer


class FeatureWindows:
    """The windows that ``qatool prep`` cut, for a model.

    :param folder: with all windows of every example
    :param tokenizer: the model's
    :param options: may ask for no other windows than there are
    :raises InputError: they were made with another tokenizer
    :raises UsageError: other windows are asked for
    """

    def __init__(self, folder: FeaturesFolder, tokenizer: PairTokenizer, options: ExtractOptions) -> None:
        folder.check_tokenizer(tokenizer)
        folder.check_size(options, n_special=tokenizer.template.n_special)
        self._folder = folder
        self._tokenizer = tokenizer
        self.size = folder.size

    def check_limit(self, limit: int) -> None:
        """Make sure that a model can read the windows.

        :param limit: longest window it reads, in tokens
        :raises InputError: they are longer
        """
        self._folder.check_limit(limit)

    def read(
        self,
        questions: Sequence[str],
        contexts: Sequence[str],
        *,
        rows: NDArray[np.int64],
        asked_anew: NDArray[np.bool_],
        words: bool,
    ) -> WindowedExamples:
        """Return the windows of ``n`` examples, as if they had been cut just now.

        :param rows: ``(n,)`` position of each among all examples, ascending
        :param asked_anew: ``(n,)`` which questions are not asked as they stand there
        :param words: also find the word each context token belongs to; only the tokenizer knows
        :raises InputError: a file cannot be read, or is not what ``qatool prep`` wrote
        """
        try:
            return restore_windows(
                self._folder.windows(rows),
                questions,
                contexts,
                rows=rows,
                asked_anew=asked_anew,
                tokenizer=self._tokenizer,
                size=self.size,
                words=words,
            )
        except UnlikeTextsError as error:
            raise InputError(
                f"{self._folder.path} rows {rows[0]} to {rows[-1]}: their windows are not those of their texts "
                f"({error}); make the features again"
            ) from error
