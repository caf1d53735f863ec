"""What the tests of ``qatool prep`` share besides fixtures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))


class Outcome(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("Error: ")]


class Prepared(NamedTuple):
    folder: Path
    features: pa.Table
    examples: pa.Table
    audit: dict[str, Any]
    manifest: dict[str, Any]


def load(folder: Path) -> Prepared:
    """Read a folder of features with nothing of ours."""
    tables = [
        pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob(f"{kind}-*.parquet"))])
        for kind in ("features", "examples")
    ]
    audit, manifest = (json.loads((folder / f"{name}.json").read_bytes()) for name in ("audit", "manifest"))
    return Prepared(folder, *tables, audit, manifest)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
