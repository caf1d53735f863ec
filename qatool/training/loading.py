"""Load the model to start from, with weights in single precision and the dropout that was asked for."""

from __future__ import annotations

from typing import Any

import torch

from qatool.errors import EnvironmentUnfitError, reason_of
from qatool.windows.modelfiles import only_local

_DROPOUTS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "hidden_dropout", "attention_dropout", "dropout",
    "qa_dropout", "activation_dropout", "embd_pdrop", "attn_pdrop", "resid_pdrop", "dropout_rate",
)  # fmt: skip
"""Names that configurations use for probabilities of dropout."""


def load_base(model: str, *, dropout: float | None, seed: int, on_card: bool, trust_remote_code: bool) -> Any:
    """Load a model to fine-tune; if it lacks a head, one is initialised from ``seed``.

    :param model: folder or hub id
    :param dropout: probability of dropout everywhere in the model, ``None`` for that of the model
    :param on_card: whether the model will be trained on an accelerator
    :raises EnvironmentUnfitError: the model does not load
    """
    from transformers import AutoConfig, AutoModelForQuestionAnswering
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    common = {"local_files_only": only_local(model), "trust_remote_code": trust_remote_code}
    torch.manual_seed(seed)
    try:
        config = AutoConfig.from_pretrained(model, **common)
        if dropout is not None:
            for name in _DROPOUTS:
                if hasattr(config, name):
                    setattr(config, name, dropout)
        loaded = AutoModelForQuestionAnswering.from_pretrained(
            model,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            # On a CPU, fused attention (the default where a model has it) draws its dropout on one thread, and gains
            # nothing on short windows.
            attn_implementation=None if on_card else "eager",
            **common,
        )
    except Exception as error:
        reason = reason_of(error)
        raise EnvironmentUnfitError(
            f"{model}: the model does not load ({reason}); name a folder with config.json and "
            "model.safetensors, or a hub id"
        ) from error
    return loaded.train()
