from __future__ import annotations

import io
import os
import sys
from types import SimpleNamespace

import pytest
from filehelpers import write

from qatool.errors import InputError
from qatool.files.sources.paths import resolve
from qatool.files.sources.source import SUPPORTED
from qatool.files.sources.stdin import spool_stdin


def names(*inputs):
    return [source.name for source in resolve([str(text) for text in inputs])]


def test_file_goes_by_its_name(tmp_path):
    (source,) = resolve([str(write(tmp_path / "sub" / "A.JSONL.Gz", ""))])
    assert (source.name, source.format, source.compression) == ("A.JSONL.Gz", "jsonl", "gzip")


def test_folder_is_sorted_and_leaves_out_hidden_underscored_and_unknown(tmp_path):
    for name in ("b.jsonl", "a/z.csv", ".h.csv", "_x.csv", "_tmp/y.csv", ".git/c.csv", "r.pdf", "a.md"):
        write(tmp_path / name, "")
    assert names(tmp_path) == ["a.md", "a/z.csv", "b.jsonl"]


def test_glob_names_are_relative_to_its_fixed_part(tmp_path):
    for name in ("in/x/a.md", "in/b.md", "in/c.jsonl"):
        write(tmp_path / name, "")
    assert names(tmp_path / "in/**/*.md") == ["b.md", "x/a.md"]


def test_glob_reaches_into_no_run_folder_but_one_that_it_names(tmp_path):
    for name in ("in/a.jsonl", "in/o.parquet.qatool/stdin.jsonl", "in/x/o.parquet.qatool/rejects.jsonl"):
        write(tmp_path / name, "")
    assert names(tmp_path / "in/**/*.jsonl") == ["a.jsonl"]
    assert names(tmp_path / "in/o.parquet.qatool/*.jsonl") == ["stdin.jsonl"]
    with pytest.raises(InputError, match="no file matches"):
        names(tmp_path / "in/*/stdin.jsonl")


def test_folders_that_a_glob_matches_are_told_of(tmp_path, caplog):
    for name in ("in/a.md", "in/x/b.md"):
        write(tmp_path / name, "")
    assert names(tmp_path / "in/**") == ["a.md", "x/b.md"]
    assert caplog.messages == []
    assert names(tmp_path / "in/*") == ["a.md"]
    (message,) = caplog.messages
    assert message.startswith(f"{tmp_path / 'in/*'}: matches 1 folder too, such as {tmp_path / 'in/x'}, which ")


def test_a_file_named_twice_is_told_of(tmp_path, caplog):
    path = write(tmp_path / "a.md", "")
    assert names(path, tmp_path) == ["a.md", "a.md"]
    assert caplog.messages == [f"{path}: is named 2 times, and its rows come as often"]


def test_a_file_is_found_once(tmp_path):
    for name in ("in/a.md", "in/x/b.md", "other/c.md"):
        write(tmp_path / name, "")
    assert names(tmp_path / "in/**/**/*.md") == ["a.md", "x/b.md"]
    (tmp_path / "in/x/loop").symlink_to(tmp_path / "in")
    (tmp_path / "in/linked").symlink_to(tmp_path / "other")
    for text in (tmp_path / "in", tmp_path / "in/**/*.md"):
        assert names(text) == ["a.md", "linked/c.md", "x/b.md"]


def test_a_pipe_in_a_folder_is_no_file(tmp_path):
    write(tmp_path / "a.jsonl", "")
    os.mkfifo(tmp_path / "b.jsonl")
    with pytest.raises(InputError, match=r"b\.jsonl: is no regular file and could be read only once; take it out"):
        names(tmp_path)
    (tmp_path / "b.jsonl").unlink()
    (tmp_path / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    assert names(tmp_path) == ["a.jsonl", "gone.jsonl"], "that it is not there is told when it is read"


def test_literal_path_wins_over_glob(tmp_path):
    write(tmp_path / "a[1].csv", "")
    write(tmp_path / "a1.csv", "")
    assert names(tmp_path / "a[1].csv") == ["a[1].csv"]


def test_shared_names_become_paths_and_repeats_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "x/a.csv", "")
    write(tmp_path / "y/a.csv", "")
    assert names("x/a.csv", "y/a.csv") == ["x/a.csv", "y/a.csv"]
    assert names("x/a.csv", "x/a.csv") == ["a.csv", "a.csv"]
    write(tmp_path / "z/y/a.csv", "")
    assert names("z", "y/a.csv", "x/a.csv") == [str(tmp_path / "z/y/a.csv"), str(tmp_path / "y/a.csv"), "x/a.csv"]


def test_all_problems_are_told_at_once(tmp_path):
    (tmp_path / "empty").mkdir()
    write(tmp_path / "a.pdf", "")
    write(tmp_path / "a.parquet.gz", "")
    bad = [str(tmp_path / name) for name in ("no.csv", "empty", "a.pdf", "a.parquet.gz", "*.xml", "*.pd?")]
    with pytest.raises(InputError) as caught:
        resolve(bad)
    assert str(caught.value).split("\n") == [
        f"{bad[0]}: no such file or folder; check the path",
        f"{bad[1]}: holds no file that can be read; supported are {SUPPORTED}",
        f"{bad[2]}: its suffix says no format that can be read; supported are {SUPPORTED}",
        f"{bad[3]}: its suffix says no format that can be read; supported are {SUPPORTED}",
        f"{bad[4]}: no file matches; check the pattern (** reaches into subfolders)",
        f"{bad[5]}: matches no file that can be read; supported are {SUPPORTED}",
    ]


def test_odd_path_is_an_input_error():
    with pytest.raises(InputError, match=r"^a\\x00b: no such file or folder; check the path$"):
        resolve(["a\0b"])


def test_name_that_is_not_utf8_becomes_valid_text(tmp_path):
    (tmp_path / "a\udcff.csv").touch()
    assert names(tmp_path) == ["a\\xff.csv"]


def test_stdin_is_spooled(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"{}\n"), closed=False))
    (source,) = resolve(["-"], stdin_spool=tmp_path)
    assert (source.name, source.format, source.path.read_bytes()) == ("<stdin>", "jsonl", b"{}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["stdin.jsonl"]


def test_closed_stdin(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="is closed; pipe JSONL into it"):
        spool_stdin(tmp_path)
    with pytest.raises(InputError, match="cannot be read here"):
        resolve(["-"])
