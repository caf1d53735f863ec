from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest

from qatool.errors import OutputError
from qatool.files.storage.atomic import (
    is_device,
    replacing,
    temporaries_in,
    temporaries_of,
    temporary_name,
    write_bytes,
    write_json,
)
from qatool.files.storage.writefailures import output_error


def test_write_json_replaces(tmp_path):
    path = tmp_path / "a.json"
    write_bytes(path, b"old")
    write_json(path, {"é": 1})
    assert path.read_text(encoding="utf-8") == '{\n  "é": 1\n}\n'
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_write_json_takes_paths_that_are_not_utf8(tmp_path):
    value = {"output": "a\udcff\\\udcfe.parquet"}
    write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_bytes()) == value
    assert b"\\udcff" in (tmp_path / "a.json").read_bytes()


def test_permissions_follow_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_nothing_is_left_after_an_exception(tmp_path):
    path = tmp_path / ("long" * 60)
    write_bytes(path, b"old")
    with pytest.raises(TypeError), replacing(path) as stream:
        stream.writelines([b"new", None])
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["a.json", "a[1]*?.json", "n" * 51, "漢" * 85, "é" * 60 + "\udcff"])
def test_temporary_names_are_found_again(tmp_path, name):
    path = tmp_path / name
    for other in {f"{name[:-1]}x", f"{name}x"[-255:], name[:50], name[:-1]} - {name}:
        temporary_name(tmp_path / other).touch()
    mine = sorted(temporary_name(path) for _ in range(3))
    for one in mine:
        one.touch()
    assert temporaries_of(path) == mine
    assert len(list(temporaries_in(tmp_path))) > len(mine)


def test_missing_folder(tmp_path):
    path = tmp_path / "no" / "a.json"
    with pytest.raises(OutputError) as caught:
        write_json(path, 1)
    assert str(caught.value) == f"{path}: cannot be written: its folder does not exist; create it first"


def test_folder_in_the_way(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(OutputError, match=r": cannot be written: is a folder; name a file$"):
        write_bytes(tmp_path / "a", b"x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_reasons():
    full = output_error("a", OSError(errno.ENOSPC, "No space left on device"))
    assert str(full) == ("a: cannot be written: the disk is full; free some space and start the same command again")
    other = output_error("a", OSError(errno.EIO, "Input/output error"))
    assert str(other) == "a: cannot be written: Input/output error; check the disk or write elsewhere"
    assert other.exit_code == 9


FULL = ["a.parquet", "a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "folder"]


@pytest.fixture(scope="module")
def full_disk(tmp_path_factory):
    """Each output and what was said of it: a file size limit stands for a disk that fills up."""
    code = """
import os, resource, sys, warnings
import pyarrow as pa
from qatool.errors import OutputError
from qatool.files.output.answers import open_writer
from qatool.files.output.targets import parse_target
warnings.simplefilter("error")
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
table = pa.table({"x": [os.urandom(40).hex() for _ in range(5000)]})
for path in sys.argv[1:]:
    try:
        with open_writer(parse_target(path), table.schema, dict) as writer:
            for _ in range(3):
                writer.write(table)
        print("written")
    except OutputError as error:
        print(error)
"""
    paths = [tmp_path_factory.mktemp("full") / name for name in FULL]
    for path in paths[:-1]:
        path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return dict(zip(FULL, zip(paths, done.stdout.splitlines(), strict=True), strict=True))


@pytest.mark.parametrize("name", FULL)
def test_full_disk_leaves_the_old_output(full_disk, name):
    path, told = full_disk[name]
    remedy = "the file grew beyond what the file system or ulimit allows; write elsewhere"
    if name == "folder":
        assert told.endswith(f"part-00000.parquet: cannot be written: {remedy}")
        assert list(path.parent.iterdir()) == []
    else:
        assert told == f"{path}: cannot be written: {remedy}"
        assert path.read_bytes() == b"old"
        assert [entry.name for entry in path.parent.iterdir()] == [name]


def test_an_open_file_keeps_the_link_that_names_it(tmp_path) -> None:
    """As /dev/stdout is one, wherever it leads."""
    link, target = tmp_path / "stdout", tmp_path / "redirected"
    with target.open("wb") as stream:
        link.symlink_to(f"/proc/self/fd/{stream.fileno()}")
        assert is_device(link)
        write_bytes(link, b"told")
    assert link.is_symlink()
    assert target.read_bytes() == b"told"
    link.unlink()
    link.symlink_to(target)
    assert not is_device(link)
