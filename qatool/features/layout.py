"""The layout of a folder of features: file names, columns, and the manifest, which is written last."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from qatool import __version__
from qatool.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

KIND = "features"
MANIFEST_NAME = "manifest.json"
AUDIT_NAME = "audit.json"
REJECTS_NAME = "rejects.jsonl"
CARD_NAME = "README.md"
# `datasets.load_dataset(folder)` reads here which files make up the data.
CARD = """\
---
configs:
- config_name: features
  default: true
  data_files: features-*.parquet
- config_name: examples
  data_files: examples-*.parquet
---

Windows of extractive question answering, made by qatool. `datasets.load_dataset(FOLDER)` gives the features,
`datasets.load_dataset(FOLDER, "examples")` the examples that their `overflow_to_sample_mapping` counts.
"""


def features_name(index: int, count: int) -> str:
    """Return the name of the file of features with this 0-based index, of ``count`` in all."""
    return f"features-{index:05d}-of-{count:05d}.parquet"


def examples_name(index: int, count: int) -> str:
    """Return the name of the file with the examples of the file of features with the same index."""
    return f"examples-{index:05d}-of-{count:05d}.parquet"


def features_schema(*, token_types: bool, all_answers: bool) -> pa.Schema:
    """Return the Arrow schema of features, which have one row per window.

    :param token_types: whether there are ``token_type_ids``
    :param all_answers: whether every answer in a window is listed, instead of the first only
    """
    positions = pa.list_(pa.int32())
    fields = [("input_ids", positions)]
    if token_types:
        fields.append(("token_type_ids", pa.list_(pa.int8())))
    fields += [
        ("offset_mapping", pa.list_(pa.list_(pa.int32(), 2))),
        ("overflow_to_sample_mapping", pa.int64()),
        ("example_id", pa.string()),
        ("window", pa.int32()),
        ("context_start", pa.int32()),
        ("context_end", pa.int32()),
        ("start_positions", pa.int32()),
        ("end_positions", pa.int32()),
    ]
    if all_answers:
        fields += [("all_start_positions", positions), ("all_end_positions", positions)]
    return pa.schema(fields)


def examples_schema() -> pa.Schema:
    """Return the Arrow schema of examples, which have one row per row of the input, including rejected ones."""
    answers = pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int64()))])
    return pa.schema(
        [
            ("id", pa.string()),
            ("question", pa.string()),
            ("context", pa.string()),
            ("answers", answers),
            ("n_windows", pa.int32()),
            ("question_tokens", pa.int32()),
            ("fingerprint", pa.binary(16)),
            ("error", pa.string()),
        ]
    )


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of ``manifest.json``: how and of what the features were made; no times, hosts or paths."""

    tokenizer: str
    """SHA-256 (hex) of the tokenizer's whole definition."""
    special_tokens: Mapping[str, str]
    """Spelling of the special tokens around question and context, by id."""
    max_length: int
    stride: int
    max_question_length: int
    """The limit that was applied, in tokens, which leaves room for at least ``stride + 1`` context tokens."""
    answers: str
    """``first`` or ``all``: the answers that are labels."""
    negatives_per_positive: float | None
    """Windows without an answer kept for each window with one; ``None``: all."""
    other_contexts: float = 0.0
    """Unanswerable examples made for each answerable one by asking its question of another context."""
    cut_contexts: float = 0.0
    """The same, by asking its question of its context without the sentences that hold an answer."""
    altered_questions: float = 0.0
    """The same, by replacing a name, number or word in its question."""
    counts: Mapping[str, int]
    inputs: Sequence[Mapping[str, Any]]
    """``name``, ``bytes`` and ``sha256`` of each input file."""
    files: Sequence[Mapping[str, Any]]
    """For each pair of files, in order, its number of rows: ``features`` and ``examples``."""

    def as_json(self) -> dict[str, Any]:
        """Return the content of the file; the key ``qatool`` marks the folder as written by qatool."""
        return {"qatool": __version__, "kind": KIND, **asdict(self)}

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read the manifest of a folder of features.

        :raises InputError: there is no manifest, or it cannot be understood
        """
        path = folder / MANIFEST_NAME
        try:
            values = json.loads(path.read_bytes())
            if values.pop("kind") != KIND:
                raise InputError(f"{path}: is of no features; name a folder that qatool prep made")
            values.pop("qatool")
            return cls(**values)
        except FileNotFoundError:
            raise InputError(f"{folder}: has no {MANIFEST_NAME}; name a folder that qatool prep made") from None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"{path}: cannot be understood ({error}); make the features again") from error


def is_features(path: Path) -> bool:
    """Return whether a path is a folder of features."""
    try:
        values = json.loads((path / MANIFEST_NAME).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and "qatool" in values and values.get("kind") == KIND
