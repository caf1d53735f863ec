from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from filehelpers import rows_of, write

from qatool.errors import InputError
from qatool.files.formats import delimited
from qatool.files.formats.readers import open_reader
from qatool.files.sources.paths import resolve
from qatool.files.values.kept import kept_array


def told(path):
    return [(row.number, row.line, row.values, row.error) for row in rows_of(path)]


def test_jsonl_bad_lines_keep_their_place(tmp_path):
    lines = [b'\xef\xbb\xbf{"a": NaN}\r\n', b" \r\n", b'{"a": 1\n', b'{"a": "x\xff"}\n', b"[1]\n"]
    lines += [b"null\n", b'"x"\n', b"[" * 200_000 + b"\n", b"9" * 5000 + b"\n", b'{"a": "\xe2\x80\xa8"}']
    path = write(tmp_path / "a.jsonl", b"".join(lines))
    first, *middle, last = told(path)
    assert first[:2] == (0, 1)
    assert str(first[2]) == "{'a': nan}"
    assert middle == [
        (1, 3, None, "invalid JSON (Expecting ',' delimiter, character 9 of the line)"),
        (2, 4, None, "invalid UTF-8 (byte 9 of the line)"),
        (3, 5, None, "is an array, not an object"),
        (4, 6, None, "is null, not an object"),
        (5, 7, None, "is a string, not an object"),
        (6, 8, None, "invalid JSON (nested too deeply)"),
        (7, 9, None, "invalid JSON (a number with too many digits)"),
    ]
    assert last == (8, 10, {"a": "\u2028"}, None)


def test_a_column_given_twice_makes_a_bad_row(tmp_path):
    first, last = (
        '{"id": "1", "q": "a", "q": "b", "n": {"x": 1, "x": 2}}',
        '{"q": "a", "n": 1, "n": [{"x": 2}], "n": 3}',
    )
    told_of_all = [
        (0, {"id": "1", "q": None, "n": {"x": 2}}, "duplicate key 'q'"),
        (1, {"q": "a", "n": None}, "duplicate key 'n'"),
    ]
    told_of_q = [(0, None, "duplicate key 'q'"), (1, "a", None)]
    for name, content in (("a.jsonl", f"{first}\n{last}\n"), ("a.json", f"[{first}, {last}]")):
        path = write(tmp_path / name, content)
        assert [(row.number, row.values, row.error) for row in rows_of(path)] == told_of_all
        assert [(row.number, row.values["q"], row.error) for row in rows_of(path, {"q"})] == told_of_q


def test_jsonl_long_line(tmp_path):
    text = "é" * 5_000_000
    assert told(write(tmp_path / "a.jsonl", f'{{"a": "{text}"}}')) == [(0, 1, {"a": text}, None)]


def test_empty_files(tmp_path):
    pq.write_table(pa.table({"question": pa.array([], pa.string())}), tmp_path / "a.parquet")
    assert told(tmp_path / "a.parquet") == []
    assert told(write(tmp_path / "a.jsonl", "")) == []
    assert told(write(tmp_path / "a.jsonl.gz", gzip.compress(b""))) == []
    assert told(write(tmp_path / "a.csv", "question,context\n")) == []
    assert told(write(tmp_path / "a.json", "[]")) == []
    path = write(tmp_path / "b.csv", "")
    with pytest.raises(InputError) as caught:
        told(path)
    assert str(caught.value) == f"{path}: header row missing; the first line must name the columns"


def test_csv_lines_and_bad_rows(tmp_path):
    content = b'\xef\xbb\xbfid,q\r\n1,"a\r\n\nb"\r\n\r\n2\n3,x,y\n4,\xff\n5,"a"b\n6,n\0l\n7,"open\n'
    assert told(write(tmp_path / "a.csv", content)) == [
        (0, 2, {"id": "1", "q": "a\r\n\nb"}, None),
        (1, 6, None, "has 1 field where the header names 2"),
        (2, 7, None, "has 3 fields where the header names 2"),
        (3, 8, {"id": "4", "q": None}, "q is not valid UTF-8"),
        (4, 9, None, "invalid CSV (',' expected after '\"')"),
        (5, 10, {"id": "6", "q": "n\0l"}, None),
        (6, 11, None, "invalid CSV (unexpected end of data)"),
    ]


def test_tsv_and_long_field(tmp_path):
    text = "x," * 1_000_000
    assert told(write(tmp_path / "a.tsv", f"id\tq\n1\t{text}\n")) == [(0, 2, {"id": "1", "q": text}, None)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,a\n", "1: the header names column 'a' twice; rename one of them"),
        (b"a,\xff\n", "1: the header row is not valid UTF-8; convert the file to UTF-8"),
        (b'a,"b\n', "1: the header row cannot be read (unexpected end of data); mend the file"),
    ],
)
def test_csv_bad_header(tmp_path, content, message):
    path = write(tmp_path / "a.csv", content)
    with pytest.raises(InputError) as caught:
        list(open_reader(resolve([str(path)])[0]).rows())
    assert str(caught.value) == f"{path}:{message}"


def test_csv_columns_that_nobody_reads_are_not_judged(tmp_path):
    path = write(tmp_path / "a.csv", "a,b,b,,\n1,2,3,,\n")
    reader = open_reader(resolve([str(path)])[0])
    assert [row.values for row in reader.rows({"a"})] == [{"a": "1"}]
    assert reader.arrow_type("a") == pa.string()
    for read in (lambda: reader.arrow_type("b"), lambda: list(reader.rows({"b"}))):
        with pytest.raises(InputError, match="names column 'b' twice"):
            read()


def test_csv_quote_that_is_never_closed(tmp_path, monkeypatch):
    """Python collects a field at 4 bytes a character."""
    assert delimited.FIELD_CHARACTERS * 4 <= 256 << 20
    monkeypatch.setattr(delimited, "FIELD_CHARACTERS", 1000)
    path = write(tmp_path / "a.csv", 'a,b\n1,2\n1,"2\n' + "3,4\n" * 400)
    rows = told(path)
    assert rows[:2] == [
        (0, 2, {"a": "1", "b": "2"}, None),
        (1, 3, None, "invalid CSV (field larger than field limit (1000))"),
    ]


def test_text_is_untouched(tmp_path):
    text = "\ufeff a\r\nb\rc\n\n"
    assert told(write(tmp_path / "a.md", text)) == [(0, None, {"id": "a.md", "context": text}, None)]
    assert told(write(tmp_path / "b.txt", b"ab\xff")) == [
        (0, None, {"id": "b.txt", "context": None}, "context is not valid UTF-8 (byte 3 of the file)")
    ]


def test_parquet_types_and_invalid_utf8(tmp_path):
    offsets = pa.py_buffer(struct.pack("<4i", 0, 1, 3, 4))
    broken = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"a\xff\xfeb")])
    table = pa.table(
        {
            "broken": broken,
            "large": pa.array(["x", None, "é"], pa.large_string()),
            "view": pa.array(["x", None, "a text beyond twelve bytes"], pa.string_view()),
            "coded": pa.array(["x", None, "x"]).dictionary_encode(),
            "a.b": [1, 2, 3],
            "a": [{"b": 1}] * 3,
            "ns": pa.array([1, None, 3], pa.timestamp("ns")),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    rows = rows_of(tmp_path / "a.parquet", {"broken", "large", "view", "coded", "a.b"})
    assert [row.values for row in rows] == [
        {"broken": "a", "large": "x", "view": "x", "coded": "x", "a.b": 1},
        {"broken": None, "large": None, "view": None, "coded": None, "a.b": 2},
        {"broken": "b", "large": "é", "view": "a text beyond twelve bytes", "coded": "x", "a.b": 3},
    ]
    assert [row.error for row in rows] == [None, "broken is not valid UTF-8 (byte 1 of the text)", None]
    reader = open_reader(resolve([str(tmp_path / "a.parquet")])[0])
    assert reader.arrow_type("coded") == pa.string()
    assert reader.arrow_type("large") == pa.large_string()
    assert reader.arrow_type("absent") is None
    cells = [row.values["ns"] for row in reader.rows({"ns"})]
    assert kept_array(cells, pa.timestamp("ns")).equals(table["ns"].combine_chunks())
    assert [row.values for row in reader.rows(set())] == [{}, {}, {}]


def test_parquet_columns_of_one_name(tmp_path):
    """Which of them is meant is anybody's guess; those that nobody asks for may be there twice."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table([["x"], ["y"], ["z"]], names=["id", "id", "question"]), path)
    assert [row.values for row in rows_of(path, {"question"})] == [{"question": "z"}]
    for asked in ({"id", "question"}, None):
        with pytest.raises(InputError) as caught:
            rows_of(path, asked)
        assert str(caught.value) == f"{path}: has 2 columns 'id'; rename them"


def test_parquet_batches_follow_the_size_of_rows(tmp_path):
    from qatool.files.formats.parquet import _batch_rows

    pq.write_table(pa.table({"context": ["x" * 2_000_000] * 40}), tmp_path / "same.parquet")
    pq.write_table(
        pa.table({"context": [f"{n}" * 500_000 for n in range(40)]}),
        tmp_path / "plain.parquet",
        use_dictionary=False,
    )
    pq.write_table(pa.table({"context": ["x", "y"]}), tmp_path / "small.parquet")
    found = {
        name: _batch_rows(pq.read_metadata(tmp_path / f"{name}.parquet"), ["context"])
        for name in ("same", "plain", "small")
    }
    assert found["small"] == 1024
    assert found["same"] <= 512
    assert found["plain"] <= 100


def test_parquet_memory_does_not_grow_with_the_file(tmp_path):
    """Row groups of 100 kB, batches of 2 MiB; the peak of Arrow's pool for many is that for few."""
    code = (
        "import sys; import pyarrow as pa; from qatool.files.formats import parquet; parquet.BATCH_BYTES = 2 << 20\n"
        "from qatool.files.sources.paths import resolve; from qatool.files.formats.readers import open_reader\n"
        "print(sum(len(row.values['context']) for row in open_reader(resolve(sys.argv[1:])[0]).rows()),"
        " pa.default_memory_pool().max_memory())"
    )
    peaks = []
    for groups in (100, 250):
        path = tmp_path / f"{groups}.parquet"
        table = pa.table({"context": [os.urandom(50_000).hex() for _ in range(groups)]})
        pq.write_table(table, path, row_group_size=1)
        done = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)
        size, peak = map(int, done.stdout.split())
        assert size == groups * 100_000
        peaks.append(peak)
    assert peaks[1] < peaks[0] * 1.2


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.parquet", b"", "cannot be read as a parquet file (Parquet file size is 0 bytes)"),
        ("a.jsonl.gz", gzip.compress(b"{}\n" * 1000)[:-4], "a gzip archive (Truncated compressed stream)"),
        ("a.jsonl.gz", b"no gzip at all", "cannot be read as a gzip archive (zlib inflate failed"),
        (
            "a.csv.zst",
            zstandard.compress(b"a,b\n" * 1000)[:-4],
            "a zstd archive (Truncated compressed stream)",
        ),
        (
            "a.json.gz",
            gzip.compress(b"[" + b"{}," * 1000)[:-4],
            "a gzip archive (Truncated compressed stream)",
        ),
    ],
)
def test_broken_files_are_named(tmp_path, name, content, reason):
    path = write(tmp_path / name, content)
    with pytest.raises(InputError) as caught:
        rows_of(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)
    assert str(caught.value).endswith("; check that it is complete")


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_archives_of_several_members(tmp_path, pack):
    path = tmp_path / ("a.jsonl.gz" if pack is gzip.compress else "a.jsonl.zst")
    write(path, pack(b'{"a": 1}\n') + pack(b'{"a": 2}'))
    assert [row.values for row in rows_of(path)] == [{"a": 1}, {"a": 2}]


def test_missing_and_forbidden_files(tmp_path):
    path = write(tmp_path / "a.jsonl", "{}")
    (source,) = resolve([str(path)])
    path.unlink()
    with pytest.raises(InputError) as caught:
        list(open_reader(source).rows())
    assert str(caught.value) == f"{path}: no such file; check the path"


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.jsonl.gz"])
def test_a_file_that_is_written_to_while_it_is_read_is_told_of(tmp_path, caplog, name) -> None:
    text = 'question,context\n"a","b"\n"c","d"\n' if ".csv" in name else '{"a": 1}\n{"a": 2}\n'
    path = write(tmp_path / name, gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    (source,) = resolve([str(path)])
    assert len(list(open_reader(source).rows())) == 2
    assert not caplog.records
    rows = open_reader(source).rows()
    next(rows)
    with path.open("ab") as stream:
        stream.write(b"\n")
    os.utime(path, ns=(0, 0))
    with suppress(InputError):
        list(rows)
    assert name.endswith(".gz") or "was written to while it was read" in caplog.text


def test_a_file_that_is_replaced_while_it_is_read_is_read_as_it_was(tmp_path, caplog) -> None:
    path = write(tmp_path / "a.jsonl", b'{"a": 1}\n{"a": 2}\n')
    (source,) = resolve([str(path)])
    rows = open_reader(source).rows()
    next(rows)
    write(tmp_path / "b.jsonl", b'{"a": 3}\n').replace(path)
    assert [row.values for row in rows] == [{"a": 2}]
    assert not caplog.records
