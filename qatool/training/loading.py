"""The model to start from: its weights in single precision, with the dropout asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from qatool.errors import EnvironmentUnfitError, reason_of

_DROPOUTS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "hidden_dropout", "attention_dropout", "dropout",
    "qa_dropout", "activation_dropout", "embd_pdrop", "attn_pdrop", "resid_pdrop", "dropout_rate",
)  # fmt: skip
"""What configurations call the probabilities of dropout."""


def load_base(model: str, *, dropout: float | None, seed: int, on_card: bool, trust_remote_code: bool) -> Any:
    """Load a model to fine-tune; a head it lacks is drawn from ``seed``.

    :param dropout: ``None``: as the model has it
    :param on_card: it will be trained on an accelerator
    :raises EnvironmentUnfitError: it does not load
    """
    from transformers import AutoConfig, AutoModelForQuestionAnswering
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    common = {"local_files_only": Path(model).is_dir(), "trust_remote_code": trust_remote_code}
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
            # Fused attention, the default where a model has it, draws its dropout on one thread of a CPU and gains
            # nothing on short windows there.
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
