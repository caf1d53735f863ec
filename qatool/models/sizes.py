"""Decide the size of windows: as the user asks, else as the model's settings say, else the defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qatool.errors import UsageError
from qatool.options import DEFAULT_MAX_LENGTH, DEFAULT_STRIDE, WindowOptions
from qatool.windows.cut import WindowSize, question_budget

if TYPE_CHECKING:
    from qatool.models.settings import ModelSettings


def resolve_size(
    options: WindowOptions,
    settings: ModelSettings,
    *,
    n_special: int,
    limit: int,
    max_question_length: int | None,
) -> WindowSize:
    """Resolve the size of windows.

    :param n_special: number of special tokens in a window
    :param limit: longest window that the model can read, in tokens
    :param max_question_length: longest question in tokens, ``None``: limited only by the window
    :raises UsageError: ``--max-length`` exceeds the limit, or a window has no room for a question
    """
    if options.max_length is not None and options.max_length > limit:
        raise UsageError(f"--max-length {options.max_length}: the model reads at most {limit} tokens; lower it")
    max_length = options.max_length or min(settings.max_length or DEFAULT_MAX_LENGTH, limit)
    stride = options.stride
    if stride is None:
        stride = min(settings.stride if settings.stride is not None else DEFAULT_STRIDE, max_length // 2)
    budget = question_budget(
        max_length=max_length, stride=stride, n_special=n_special, max_question_length=max_question_length
    )
    return WindowSize(max_length=max_length, stride=stride, question_budget=budget)
