"""Write features: worker processes write parts and thin out negatives, then the parts get their final names."""

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
    """Return the path of a part before the number of all parts is known."""
    return folder / f"{kind}-{index:05d}.parquet"


@dataclass(frozen=True, kw_only=True)
class PartWriter:
    """The task of a worker process: make the features of a shard and write them."""

    maker: FeatureMaker
    folder: Path

    def __call__(self, shard: Shard) -> Report:
        """Write the two files of a shard, such as ``features-00000.parquet`` and ``examples-00000.parquet``.

        :raises OutputError: a file cannot be written
        """
        if multiprocessing.parent_process() is not None:
            _settle_in()
        made = self.maker.make(shard)
        write_table(part_path(self.folder, "features", shard.index), made.features)
        write_table(part_path(self.folder, "examples", shard.index), made.examples)
        return made.report


class _NoPandas:
    """Prevents a worker from importing pandas, which Arrow would import only to check whether a list is a series."""

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> None:
        """Refuse to import pandas; leave all other modules to the next finder.

        :raises ImportError: the module is pandas
        """
        if name == "pandas":
            raise ImportError(name)


def _settle_in() -> None:
    """Set up a worker process, which does nothing but this task, to be quick and small."""
    # The cores are already shared out among the processes.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if _NoPandas not in sys.meta_path:
        sys.meta_path.insert(0, _NoPandas)
    # There are no reference cycles here, and each collection would visit all tokens.
    gc.set_threshold(200_000)


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table as one row group; the bytes depend only on the table.

    :raises OutputError: the file cannot be written
    """
    with replacing(path) as stream:
        # No dictionaries: neighbouring rows share long runs of tokens and text, which zstd compresses well.
        pq.write_table(table, stream, compression="zstd", use_dictionary=False, row_group_size=max(1, table.num_rows))


@dataclass(frozen=True, kw_only=True)
class Thinning:
    """The task of a worker process: keep a sample of a part's windows without an answer."""

    folder: Path
    max_length: int
    keep: Sequence[int]
    """``(parts,)``: number of windows without an answer to keep in each part."""

    def __call__(self, index: int) -> NDArray[np.int64]:
        """Rewrite a part with its sample, and return the number of dropped windows by length: ``(max_length + 1,)``.

        :raises OutputError: the part cannot be written
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
    """Return which windows are labelled and contain no answer: ``(w,)``."""
    start = features["start_positions"]
    outside = pc.less(start, features["context_start"])
    outside = pc.or_(outside, pc.greater_equal(start, features["context_end"]))
    return np.asarray(pc.fill_null(outside, fill_value=False).to_numpy(), dtype=bool)


def share_out(negatives: Sequence[int], total: int) -> list[int]:
    """Return how many windows without an answer each part keeps if ``total`` of all are drawn at random.

    :param negatives: number of such windows in each part
    """
    if total >= sum(negatives):
        return list(negatives)
    generator = np.random.default_rng(_SEED)
    return [int(n) for n in generator.multivariate_hypergeometric(negatives, total, method="marginals")]


def name_parts(folder: Path, count: int) -> None:
    """Give the parts their final names, which include their number.

    :raises OutputError: a part cannot be renamed
    """
    with reporting(folder):
        for index in range(count):
            part_path(folder, "features", index).rename(folder / features_name(index, count))
            part_path(folder, "examples", index).rename(folder / examples_name(index, count))


def input_hashes(sources: Sequence[Source]) -> list[Mapping[str, Any]]:
    """Return name, size in bytes and SHA-256 (hex) of each input file.

    :raises InputError: a file cannot be read
    """
    found: list[Mapping[str, Any]] = []
    for source in sources:
        with reading(source), source.path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            found.append({"name": source.name, "bytes": stream.tell(), "sha256": digest})
    return found
