"""The size of windows: the user's word, else the model's, else the default, within what the model can read."""

from __future__ import annotations

import pytest

from qatool.errors import UsageError
from qatool.models.settings import ModelSettings
from qatool.models.sizes import resolve_size
from qatool.options import ExtractOptions
from qatool.windows.cut import WindowSize


def size(*, limit: int = 512, longest: int | None = 64, model: dict | None = None, **asked) -> WindowSize:
    options = ExtractOptions(inputs=("in.jsonl",), output="out.parquet", **asked)
    settings = ModelSettings(**model or {})
    return resolve_size(options, settings, n_special=3, limit=limit, max_question_length=longest)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({}, (384, 128, 64)),
        ({"limit": 128}, (128, 64, 60)),
        ({"limit": 384}, (384, 128, 64)),
        ({"model": {"max_length": 256, "stride": 32}}, (256, 32, 64)),
        ({"model": {"max_length": 1000, "stride": 0}}, (512, 0, 64)),
        ({"model": {"max_length": 256}, "max_length": 512, "stride": 1}, (512, 1, 64)),
        ({"stride": 0}, (384, 0, 64)),
        ({"longest": None}, (384, 128, 252)),
        ({"max_length": 512}, (512, 128, 64)),
    ],
)
def test_size(case, expected) -> None:
    found = size(**case)
    assert (found.max_length, found.stride, found.question_budget) == expected


def test_longer_than_the_model_reads() -> None:
    with pytest.raises(UsageError) as caught:
        size(limit=128, max_length=129)
    assert str(caught.value) == "--max-length 129: the model reads at most 128 tokens; lower it"


def test_no_room_for_a_question() -> None:
    with pytest.raises(UsageError, match="leave no room for a question"):
        size(max_length=20, stride=16)
