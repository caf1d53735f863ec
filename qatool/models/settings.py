"""The settings of a model: ``qatool.json`` beside its weights, and the longest input that it can read."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from qatool.errors import EnvironmentUnfitError
from qatool.logs import log_event
from qatool.models.hub import hub_file
from qatool.spans.calibration import Calibration

SETTINGS_FILE = "qatool.json"

# Kinds of models whose learned positions start behind the padding index, so that 514 embeddings serve 512 tokens.
_POSITIONS_AFTER_PADDING = frozenset(
    {
        "camembert", "data2vec-text", "ibert", "layoutlmv3", "lilt", "longformer", "luke", "markuplm", "mpnet",
        "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
    }
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The settings in ``qatool.json``; the defaults here apply to a model without that file."""

    max_length: int | None = None
    """Tokens per window, as in training."""
    stride: int | None = None
    """Tokens shared by neighbouring windows, as in training."""
    temperature: float = 1.0
    """Divides the logits before scores are computed."""
    answerable_slope: float = 1.0
    """Factor on the model's log odds that there is an answer."""
    answerable_bias: float = 0.0
    """Added to these log odds after they are multiplied."""
    no_answer_threshold: float | None = None
    """An example has no answer when its ``no_answer_score`` exceeds this."""
    knows_no_answer: bool = True
    """Whether the model was trained on unanswerable questions; if not, it always answers."""

    @classmethod
    def load(cls, model: str) -> ModelSettings:
        """Read the settings of ``model``, a folder or a hub id; without ``qatool.json``, return the defaults.

        :raises EnvironmentUnfitError: the file exists but cannot be used
        """
        path = settings_path(model)
        values = {} if path is None else _values_in(path)
        known = [field.name for field in fields(cls)]
        settings = cls(**{name: values[name] for name in known if name in values})
        if path is not None:
            settings.check(path)
            for name in values.keys() - set(known):
                for near in get_close_matches(name.replace("-", "_"), known, n=1, cutoff=0.75):
                    log_event(f"{path}: {name} sets nothing; did you mean {near}?", level=logging.WARNING)
        return settings

    @property
    def calibration(self) -> Calibration:
        """How the logits of the model become probabilities."""
        return Calibration(
            temperature=self.temperature,
            answerable_slope=self.answerable_slope,
            answerable_bias=self.answerable_bias,
        )

    def check(self, path: Path) -> None:
        """Check the types and ranges of the values.

        :param path: the file that they were read from, for messages
        :raises EnvironmentUnfitError: a value has the wrong type or is out of range
        """
        sensible = {
            "max_length": (self.max_length is None or _is_whole(self.max_length, least=1), "a whole number from 1"),
            "stride": (self.stride is None or _is_whole(self.stride, least=0), "a whole number from 0"),
            "temperature": (_is_number(self.temperature) and self.temperature > 0, "a number above 0"),
            "answerable_slope": (_is_number(self.answerable_slope) and self.answerable_slope >= 0, "a number from 0"),
            "answerable_bias": (_is_number(self.answerable_bias), "a number"),
            "no_answer_threshold": (
                self.no_answer_threshold is None
                or (_is_number(self.no_answer_threshold) and 0 <= self.no_answer_threshold <= 1),
                "a number from 0 to 1",
            ),
            "knows_no_answer": (isinstance(self.knows_no_answer, bool), "true or false"),
        }
        for name, (is_sensible, wanted) in sensible.items():
            if not is_sensible:
                raise EnvironmentUnfitError(f"{path}: {name} is {getattr(self, name)!r}, not {wanted}; mend it")


def learnt_no_answer(model: str) -> bool:
    """Return whether the settings of a model say outright that it was trained on unanswerable questions.

    By default, :attr:`ModelSettings.knows_no_answer` is true, which need not be so where the settings do not say it.

    :raises EnvironmentUnfitError: the settings file exists but cannot be used
    """
    path = settings_path(model)
    return path is not None and _values_in(path).get("knows_no_answer") is True


def _values_in(path: Path) -> dict[str, Any]:
    """Return the values in a settings file, none where it is missing.

    :raises EnvironmentUnfitError: the file cannot be used
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise EnvironmentUnfitError(f"{path}: cannot be read ({error}); mend or remove it") from error
    if not isinstance(values, dict):
        raise EnvironmentUnfitError(f"{path}: must hold a JSON object; mend or remove it")
    return values


def settings_path(model: str) -> Path | None:
    """Return the path of the settings file of a model, a folder or a hub id; ``None`` for a hub model without one.

    In a folder, the file need not exist.
    """
    return Path(model) / SETTINGS_FILE if Path(model).is_dir() else hub_file(model, SETTINGS_FILE)


def files_of(folder: Path) -> list[str]:
    """Return the names in a model's folder, to be listed in its settings as files that qatool wrote."""
    return sorted({*(path.name for path in folder.iterdir()), SETTINGS_FILE})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: object, *, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def longest_input(config: Any, tokenizer_limit: int) -> int:
    """Return the longest window, in tokens, that a model with this configuration can read."""
    positions = positions_of(config)
    return tokenizer_limit if positions is None else min(positions, tokenizer_limit)


def positions_of(config: Any) -> int | None:
    """Return how many tokens a model with this configuration has positions for, ``None`` for any number."""
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions <= 0:
        return None
    if getattr(config, "model_type", None) in _POSITIONS_AFTER_PADDING:
        # 1 is the default of transformers for these models.
        positions -= (getattr(config, "pad_token_id", 1) or 0) + 1
    return positions
