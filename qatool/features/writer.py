"""Write features: parts by processes into a folder aside, then a sample of the negatives, then the seals."""

from __future__ import annotations

import gc
import hashlib
import multiprocessing
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qatool.features.layout import examples_name, features_name
from qatool.files.formats.parquet import arrow_source
from qatool.files.sources.streams import reading
from qatool.files.storage.atomic import replacing
from qatool.files.storage.writefailures import reporting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from qatool.features.maker import FeatureMaker, Report
    from qatool.features.shards import Shard
    from qatool.files.sources.source import Source

_SEED = 0


def part_path(folder: Path, kind: str, index: int) -> Path:
    """Return where a part stands until the number of all is known."""
    return folder / f"{kind}-{index:05d}.parquet"


@dataclass(frozen=True, kw_only=True)
class PartWriter:
    """The task of a worker process: make the features of a shard and write them."""

    maker: FeatureMaker
    folder: Path

    def __call__(self, shard: Shard) -> Report:
        """Write ``features-00000.parquet`` and ``examples-00000.parquet`` of a shard.

        :raises OutputError: they cannot be written
        """
        if multiprocessing.parent_process() is not None:
            _settle_in()
        made = self.maker.make(shard)
        write_table(part_path(self.folder, "features", shard.index), made.features)
        write_table(part_path(self.folder, "examples", shard.index), made.examples)
        return made.report


class _NoPandas:
    """Keeps pandas out of a worker: Arrow would import it only to ask whether a list is one of its kind."""

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> None:
        """Refuse pandas; whoever asks for another module is sent on.

        :raises ImportError: pandas was asked for
        """
        if name == "pandas":
            raise ImportError(name)


def _settle_in() -> None:
    """Make a worker process lean: it does nothing but this task."""
    # The cores are shared out among processes already.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if _NoPandas not in sys.meta_path:
        sys.meta_path.insert(0, _NoPandas)
    # Nothing here makes cycles, and the collector would walk all tokens again and again.
    gc.set_threshold(200_000)


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table as one row group; its bytes depend on nothing else.

    :raises OutputError: it cannot be written
    """
    with replacing(path) as stream:
        # Neighbouring rows repeat whole stretches of tokens and text: a window for zstd, not for dictionaries.
        pq.write_table(table, stream, compression="zstd", use_dictionary=False, row_group_size=max(1, table.num_rows))


@dataclass(frozen=True, kw_only=True)
class Thinning:
    """The task of a worker process: keep a sample of a part's windows without an answer."""

    folder: Path
    max_length: int
    keep: Sequence[int]
    """How many such windows stay in each part."""

    def __call__(self, index: int) -> NDArray[np.int64]:
        """Rewrite a part; return how many windows of each length went: ``(max_length + 1,)``.

        :raises OutputError: it cannot be written
        """
        path = part_path(self.folder, "features", index)
        table = pq.read_table(arrow_source(path))
        negative = np.flatnonzero(without_answer(table))
        kept = np.random.default_rng([_SEED, index]).choice(len(negative), self.keep[index], replace=False)
        dropped = np.delete(negative, kept)
        stays = np.ones(len(table), dtype=bool)
        stays[dropped] = False
        lengths = pc.list_value_length(table["input_ids"]).to_numpy()[dropped]
        write_table(path, table.filter(pa.array(stays)).combine_chunks())
        return np.bincount(lengths, minlength=self.max_length + 1)


def without_answer(features: pa.Table) -> NDArray[np.bool_]:
    """Return which windows are labelled and hold no answer: ``(w,)``."""
    start = features["start_positions"]
    outside = pc.less(start, features["context_start"])
    outside = pc.or_(outside, pc.greater_equal(start, features["context_end"]))
    return np.asarray(pc.fill_null(outside, fill_value=False).to_numpy(), dtype=bool)


def share_out(negatives: Sequence[int], total: int) -> list[int]:
    """Return how many windows without an answer each part keeps when ``total`` of all are drawn at random."""
    if total >= sum(negatives):
        return list(negatives)
    generator = np.random.default_rng(_SEED)
    return [int(n) for n in generator.multivariate_hypergeometric(negatives, total, method="marginals")]


def name_parts(folder: Path, count: int) -> None:
    """Give the parts their final names, which say how many there are.

    :raises OutputError: one cannot be renamed
    """
    with reporting(folder):
        for index in range(count):
            part_path(folder, "features", index).rename(folder / features_name(index, count))
            part_path(folder, "examples", index).rename(folder / examples_name(index, count))


def input_hashes(sources: Sequence[Source]) -> list[Mapping[str, Any]]:
    """Return name, size and SHA-256 of each input file.

    :raises InputError: one cannot be read
    """
    found: list[Mapping[str, Any]] = []
    for source in sources:
        with reading(source), source.path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            found.append({"name": source.name, "bytes": stream.tell(), "sha256": digest})
    return found
