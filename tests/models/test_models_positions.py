"""The longest input told of a model is the longest it can read: one token more fails."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers import AutoConfig, AutoModelForQuestionAnswering

from qatool.models.settings import longest_input

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 50,
    "max_position_embeddings": 34,
}
OTHER_NAMES = {"distilbert": {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16}}


@pytest.mark.parametrize(
    "kind",
    [
        "albert",
        "bert",
        "camembert",
        "data2vec-text",
        "distilbert",
        "electra",
        "ernie",
        "ibert",
        "luke",
        "mpnet",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "markuplm",
    ],
)
def test_longest_input_is_the_longest(kind) -> None:
    config = AutoConfig.for_model(kind, **SMALL, **OTHER_NAMES.get(kind, {}))
    model = AutoModelForQuestionAnswering.from_config(config).eval()
    longest = longest_input(config, 10**30)
    with torch.no_grad():
        assert model(input_ids=torch.full((1, longest), 7)).start_logits.shape == (1, longest)
        with pytest.raises((IndexError, RuntimeError, ValueError)):
            model(input_ids=torch.full((1, longest + 1), 7))


def test_a_configuration_that_does_not_name_its_padding() -> None:
    config = SimpleNamespace(model_type="roberta", max_position_embeddings=514)
    assert longest_input(config, 10_000) == 512
