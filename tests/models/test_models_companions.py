"""What lies beside a model's weights, as it is saved again."""

from __future__ import annotations

import json
import shutil

import pytest

from qatool.models.companions import save_tokenizer
from qatool.windows.tokenizer import PairTokenizer

OWN_CODE = """\
from tokenizers.normalizers import Lowercase, Replace, Sequence
from transformers import PreTrainedTokenizerFast


class OwnTokenizer(PreTrainedTokenizerFast):
    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        self.backend_tokenizer.normalizer = Sequence([Lowercase(), Replace("e", "a")])


OwnTokenizer.register_for_auto_class("AutoTokenizer")
"""


@pytest.mark.parametrize("name", ["OwnTokenizer", None])
def test_a_tokenizer_of_its_own_code_is_saved_as_it_was_trained_with(tmp_path, tiny_model, name) -> None:
    """Whether the folder names that class or, for those who do not trust its code, one of transformers."""
    model = shutil.copytree(tiny_model, tmp_path / "model")
    told = json.loads((model / "tokenizer_config.json").read_text())
    told["tokenizer_class"] = name or told["tokenizer_class"]
    told["auto_map"] = {"AutoTokenizer": [None, "own.OwnTokenizer"]}
    (model / "tokenizer_config.json").write_text(json.dumps(told))
    (model / "own.py").write_text(OWN_CODE)
    trained_with = PairTokenizer.load(str(model), trust_remote_code=True)
    assert trained_with.fingerprint != PairTokenizer.load(str(tiny_model)).fingerprint
    save_tokenizer(str(model), tmp_path / "saved", trust_remote_code=True)
    assert PairTokenizer.load(str(tmp_path / "saved"), trust_remote_code=True).fingerprint == trained_with.fingerprint
