"""Compute the logits of a training batch, in the same way for the model in training and for its teachers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from qatool.models.pytorch.ways import PaddedWay, fastest_way

if TYPE_CHECKING:
    from torch import Tensor

    from qatool.training.windows import TrainingBatch


def takes_ready_mask(model: Any) -> bool:
    """Return whether a model takes its mask in the form that attention takes.

    It spares a wait: to make that form itself, transformers would ask the card whether there is any padding.
    """
    was_training = model.training
    model.eval()
    config = model.config
    way = fastest_way(
        model, vocabulary=config.vocab_size, pad_token_id=getattr(config, "pad_token_id", None), may_pack=False
    )
    model.train(was_training)
    return way == PaddedWay(ready_mask=True)


def masked_logits(model: Any, batch: TrainingBatch, *, ready_mask: bool) -> tuple[Tensor, Tensor]:
    """Return start and end logits, ``(b, t)`` each, in float32, with the smallest finite number at padding.

    :param ready_mask: whether to give the mask in the form that attention takes
    """
    mask = batch.attention_mask
    inputs = {"input_ids": batch.input_ids}
    inputs["attention_mask"] = mask.bool()[:, None, None, :] if ready_mask else mask
    if batch.token_type_ids is not None:
        inputs["token_type_ids"] = batch.token_type_ids
    output = model(**inputs)
    # Not -inf: in the loss, a probability of 0 times its logarithm must be 0, not NaN.
    least = torch.finfo(torch.float32).min
    start, end = (logits.float().masked_fill(mask == 0, least) for logits in (output.start_logits, output.end_logits))
    return start, end
