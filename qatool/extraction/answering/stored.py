"""Read windows from features instead of cutting them from texts, and check that they suit the model."""

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
    """The windows that ``qatool prep`` cut, to be read by a model.

    :param folder: the features, with all windows of every example
    :param tokenizer: the tokenizer of the model
    :param options: the options; they must not ask for windows of another size than the features have
    :raises InputError: the features were made with another tokenizer
    :raises UsageError: the options ask for windows of another size
    """

    def __init__(self, folder: FeaturesFolder, tokenizer: PairTokenizer, options: ExtractOptions) -> None:
        folder.check_tokenizer(tokenizer)
        folder.check_size(options, n_special=tokenizer.template.n_special)
        self._folder = folder
        self._tokenizer = tokenizer
        self.size = folder.size

    def check_limit(self, limit: int) -> None:
        """Make sure that the windows are not too long for a model.

        :param limit: longest window that the model can read, in tokens
        :raises InputError: the windows are longer
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

        :param rows: ``(n,)``: the position of each example among all in the features, ascending
        :param asked_anew: ``(n,)``: which questions differ from the stored ones and must be tokenised again
        :param words: whether to find the word that each context token belongs to, which needs the tokenizer
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
