"""Small files and short ways, shared by the tests of this folder."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from qatool.files.examples.corpus import Corpus, open_corpus
from qatool.files.formats.readers import open_reader
from qatool.files.sources.paths import resolve

if TYPE_CHECKING:
    from pathlib import Path

    from qatool.files.sources.rows import Row


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows in the format of the suffix, by other code than qatool's own."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix in {".csv", ".tsv"}:
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, rows[0], delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".json":
        write(path, json.dumps(rows))
    else:
        write(path, "".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def rows_of(path: Path, columns: set[str] | None = None) -> list[Row]:
    return list(open_reader(resolve([str(path)])[0]).rows(columns))


def corpus_of(*paths: Path, **options: Any) -> Corpus:
    questions = options.pop("questions", None)
    return open_corpus(
        resolve([str(path) for path in paths]),
        questions=None if questions is None else resolve([str(questions)])[0],
        **options,
    )
