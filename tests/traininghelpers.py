"""What tests of training share: a tiny model and batches by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import BertConfig, BertForQuestionAnswering

from qatool.commands import evaluate, extract
from qatool.options import EvaluateOptions, ExtractOptions
from qatool.training.module import Recipe
from qatool.training.windows import TrainingBatch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

RECIPE = Recipe(learning_rate=1e-2, weight_decay=0.0, clip=1.0, steps=9, warmup_steps=0, seed=1)


def tiny_bert(seed: int = 1) -> BertForQuestionAnswering:
    """A model of one layer that knows 20 tokens, its weights from a seed."""
    torch.manual_seed(seed)
    config = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    return BertForQuestionAnswering(config)


def batch_of(
    labels: Sequence[Sequence[tuple[int, int]]],
    *,
    lengths: Sequence[int] = (5, 3),
    width: int = 5,
    rows: int | None = None,
) -> TrainingBatch:
    """Make a batch of windows of ``lengths``, each with its answers; filled up to ``width`` and ``rows``."""
    count = rows or len(labels)
    most = max(map(len, labels))
    mask = torch.zeros(count, width, dtype=torch.long)
    mask[:, 0] = 1
    starts, ends = (torch.zeros(count, most, dtype=torch.long) for _ in range(2))
    weights = torch.zeros(count, most)
    for row, (length, spans) in enumerate(zip(lengths, labels, strict=True)):
        mask[row, :length] = 1
        for place, (start, end) in enumerate(spans):
            starts[row, place], ends[row, place] = start, end
            weights[row, place] = 1 / len(spans) / len(labels)
    ids = (torch.arange(count)[:, None] * 5 + torch.arange(width) + 1) % 20
    return TrainingBatch(
        input_ids=ids * mask,
        attention_mask=mask,
        token_type_ids=None,
        start_positions=starts,
        end_positions=ends,
        weights=weights,
        windows=len(labels),
    )


def figures_of(model: Path, questions: Path, output: Path) -> Mapping[str, float]:
    """What ``qatool evaluate`` says of the answers of ``qatool extract``, every window read in single precision."""
    extract.run(
        ExtractOptions(
            inputs=(str(questions),),
            output=str(output),
            model=str(model),
            always_answer=True,
            max_windows="all",
            precision="fp32",
        )
    )
    return evaluate.run(EvaluateOptions(answers=str(output), references=str(questions))).figures
