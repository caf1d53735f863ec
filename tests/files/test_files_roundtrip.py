"""Arbitrary text must come back from every format exactly as it was written."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import pytest
import zstandard
from filehelpers import corpus_of, write, write_rows
from hypothesis import given, settings
from hypothesis import strategies as st

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=30) | st.text('",\r\n\t\\ \0\u2028\ufeff😀')
ROWS = st.lists(st.fixed_dictionaries({"id": TEXT, "question": TEXT, "context": TEXT}), min_size=1, max_size=5)


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv", "parquet", "json", "jsonl.gz", "csv.zst"])
@settings(max_examples=60, deadline=None)
@given(rows=ROWS)
def test_text_comes_back(suffix, rows):
    with tempfile.TemporaryDirectory() as folder:
        plain, _, packed = suffix.partition(".")
        path = write_rows(Path(folder, f"a.{plain}"), rows)
        if packed:
            pack = gzip.compress if packed == "gz" else zstandard.compress
            path = write(Path(folder, f"a.{suffix}"), pack(path.read_bytes()))
        found = list(corpus_of(path).examples())
    assert [one.error for one in found] == [None] * len(rows)
    wanted = [{**row, "id": row["id"] or str(number)} for number, row in enumerate(rows)]
    assert [{"id": one.id, "question": one.question, "context": one.context} for one in found] == wanted


@settings(max_examples=60, deadline=None)
@given(text=TEXT)
def test_text_files_come_back(text):
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder, "a.txt"), text)
        (found,) = corpus_of(path, question=("q",)).examples()
    assert found.context == text
