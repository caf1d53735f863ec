"""``qatool extract FEATURES/``: the answers of the raw input to the byte, without tokenising anything."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from featurehelpers import SIZES, prepare, rows, run, with_bad_rows, write

from qatool import cli
from qatool.windows.tokenizer import PairTokenizer

CALL = ("-q", "--shard-rows", "9", "--on-error", "skip")


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_model) -> Path:
    """A folder with rows and the features made of them, in parts that are no shards of an extraction."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("qatool.features.shards.cut_shards.__kwdefaults__", {"rows": 14, "characters": 10**6})
        write(folder / "in.jsonl", with_bad_rows())
        prepare(tiny_model, "--on-error", "skip", code=5)
    return folder


@pytest.fixture
def place(made, tmp_path, monkeypatch, tiny_model) -> Path:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QATOOL_MODEL", str(tiny_model))
    return tmp_path


def problem(capfd, *words: object, code: int) -> str:
    capfd.readouterr()
    run("extract", *words, "-q", code=code)
    return capfd.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--top-k", "3"],
        ["--max-windows", "2", "--top-k", "2", "--snippet", "9"],
        ["--max-windows", "all", "--always-answer"],
        ["--decode", "squad-script", "--top-k", "3"],
        ["--decode", "hf-pipeline", "--top-k", "3"],
        ["--limit", "40", "--backend", "constant"],
    ],
    ids=" ".join,
)
def test_the_bytes_are_those_of_the_raw_input(place, words) -> None:
    run("extract", "in.jsonl", "-o", "raw.parquet", *SIZES, *CALL, *words, code=5)
    run("extract", "features", "-o", "read.parquet", *CALL, *words, code=5)
    assert (place / "read.parquet").read_bytes() == (place / "raw.parquet").read_bytes()
    counts = [json.loads((place / f"{name}.parquet.summary.json").read_bytes()) for name in ("raw", "read")]
    for name in ("examples", "windows", "windows_read", "odd", "rejected", "repeated", "truncated_questions"):
        assert counts[0][name] == counts[1][name]
    rejects = [json.loads(line) for line in (place / "read.parquet.rejects.jsonl").read_text().splitlines()]
    assert rejects[0] == {"row": 3, "id": "null", "where": "features row 3", "reason": "question is null"}


def test_the_rows_are_of_every_kind(place) -> None:
    """What the comparison above compares: else it would prove little."""
    run("extract", "features", "-o", "read.parquet", "--backend", "constant", *CALL, code=5)
    told = json.loads((place / "read.parquet.summary.json").read_bytes())
    assert told["shards"] > 8
    assert min(told[name] for name in ("odd", "rejected", "repeated", "truncated_questions")) > 0
    table = pq.read_table("read.parquet")
    assert max(count or 0 for count in table["n_windows"].to_pylist()) > 10
    assert told["windows_read"] < 0.6 * told["windows"]
    assert len(list(Path("features").glob("features-*.parquet"))) > 5


def refuse_to_tokenise(patch, *, but_for_words: bool = False) -> None:
    plain = PairTokenizer.tokenize

    def tokenize(self, texts, *, offsets=True, words=False):
        if words and but_for_words:
            return plain(self, texts, offsets=offsets, words=words)
        raise AssertionError("something was tokenised")

    patch.setattr(PairTokenizer, "tokenize", tokenize)


@pytest.mark.parametrize("decode", ["native", "squad-script", "hf-pipeline"])
def test_nothing_is_tokenised(place, tiny_model, monkeypatch, decode) -> None:
    write(place / "in.jsonl", [row for row in rows() if row["question"] == row["question"].lstrip()])
    prepare(tiny_model)
    refuse_to_tokenise(monkeypatch, but_for_words=decode == "hf-pipeline")
    run("extract", "features", "-o", "read.parquet", "--decode", decode, "--backend", "constant", "-q")
    monkeypatch.undo()
    monkeypatch.chdir(place)
    run("extract", "in.jsonl", "-o", "raw.parquet", *SIZES, "--decode", decode, "--backend", "constant", "-q",
        "--model", tiny_model)  # fmt: skip
    assert Path("read.parquet").read_bytes() == Path("raw.parquet").read_bytes()


def test_the_sizes_may_be_spelled_out(place, capfd) -> None:
    call = ["features", "-o", "out.jsonl", "--backend", "constant", "--limit", "3"]
    run("extract", *call, *SIZES, "-q")
    error = problem(capfd, *call, "--max-length", 61, "--stride", 21, "--max-question-length", 13, code=2)
    assert error.splitlines() == [
        f"Error: --{name} {asked}: the windows in features were cut with {held}; drop it, or make the features again "
        f"with --{name} {asked}"
        for name, asked, held in (("max-length", 61, 60), ("stride", 21, 20), ("max-question-length", 13, 12))
    ]
    assert not Path("out.jsonl.qatool").exists()


def test_a_question_length_beyond_what_fits_is_the_same(place, tiny_model) -> None:
    prepare(tiny_model, "--max-question-length", 40, "--on-error", "skip", code=5)
    assert json.loads(Path("features/manifest.json").read_bytes())["max_question_length"] == 36
    call = ["-o", "out.jsonl", "--backend", "constant", "--limit", "3", "-q"]
    run("extract", "features", *call, "--max-question-length", 40)
    run("extract", "features", *call, "--max-question-length", 36)


KILL = """
import os, sys
from qatool import cli
from qatool.jobs.runfolder.parts import Parts
plain = Parts._mark
def mark(self, unit, part, **more):
    if unit.index == 4:
        os._exit(99)
    plain(self, unit, part, **more)
Parts._mark = mark
cli.run(sys.argv[1:])
"""


@pytest.mark.parametrize("first", ["features", "in.jsonl"])
def test_killed_and_continued(place, first) -> None:
    """The same answers come of both, so a run begun on one may even be continued on the other."""
    run("extract", "in.jsonl", "-o", "raw.parquet", *SIZES, *CALL, code=5)
    call = ["extract", first, "-o", "read.parquet", *CALL, *(() if first == "features" else SIZES)]
    assert subprocess.run([sys.executable, "-c", KILL, *call]).returncode == 99
    run("extract", "features", "-o", "read.parquet", *CALL, code=5)
    assert Path("read.parquet").read_bytes() == Path("raw.parquet").read_bytes()
    assert json.loads(Path("read.parquet.summary.json").read_bytes())["resumed_shards"] == 4


def test_earlier_answers_are_reused(place, monkeypatch) -> None:
    run("extract", "in.jsonl", "-o", "raw.parquet", *SIZES, *CALL, "--backend", "constant", code=5)
    monkeypatch.setattr("qatool.features.reader.FeaturesFolder._windows_of", None)
    run("extract", "features", "-o", "read.parquet", *CALL, "--backend", "constant", "--reuse", "raw.parquet", code=5)
    ours, theirs = (pq.read_table(name) for name in ("read.parquet", "raw.parquet"))
    assert ours.equals(theirs)


def test_columns_and_other_outputs(place, capfd) -> None:
    run("extract", "features", "-o", "out/", *CALL, "--backend", "constant", "--column", "gold=answers", "--keep",
        "gold", code=5)  # fmt: skip
    table = pq.read_table("out/part-00000.parquet")
    assert (
        table.schema.field("gold").type
        == pq.read_schema("features/examples-00000-of-00007.parquet").field("answers").type
    )
    capfd.readouterr()
    run("extract", "features", "-o", "-", *CALL, "--backend", "constant", "--limit", 3)
    assert [json.loads(line)["id"] for line in capfd.readouterr().out.splitlines()] == ["row 0", "row 1", "row 2"]
    error = problem(capfd, "features", "-o", "x.jsonl", "--keep", "title", code=3)
    assert error == (
        "Error: features: features have no column 'title'; there are 'id', 'question', 'context', 'answers', "
        "'n_windows', 'question_tokens', 'fingerprint', 'error'; drop --keep title, or extract from the raw input\n"
    )


BARE = ("--backend", "constant", "--on-error", "skip")


def test_dry_run(place, capfd) -> None:
    told = []
    for words in (["features"], ["in.jsonl", *SIZES]):
        capfd.readouterr()
        run("extract", *words, "-o", "x.jsonl", *BARE, "--dry-run", "--summary", "-")
        told.append(json.loads(capfd.readouterr().out))
    names = ("examples", "rejected", "shards", "windows", "tokens", "exact")
    assert [told[0][name] for name in names] == [told[1][name] for name in names]
    assert (told[0]["examples"], told[0]["rejected"]) == (len(with_bad_rows()), 3)
    assert told[0]["first_reject"] == "features row 3: question is null"
    assert not list(Path().glob("x.jsonl*"))


def test_a_rejected_row_ends_the_run_unless_skipped(place, capfd) -> None:
    assert problem(capfd, "features", "-o", "x.jsonl", code=3) == (
        "Error: features row 3: question is null; mend the row, or add --on-error skip to set such rows aside\n"
    )
    assert problem(capfd, "features", "-o", "x.jsonl", "--on-error", "skip", "--max-errors", 1, code=3).startswith(
        "Error: 3 rows are bad, more than --max-errors 1; "
    )


def test_a_label_that_cannot_be_used_stays_a_rejected_row(place, tiny_model) -> None:
    row = {"id": "a", "question": "Who?", "context": "Mrs Hollins has the key."}
    wrong = {"answers": {"text": ["nobody"], "answer_start": [3]}}
    write(place / "in.jsonl", [row, row | wrong])
    prepare(tiny_model, code=5)
    run("extract", "features", "-o", "x.parquet", *CALL, code=5)
    errors = pq.read_table("x.parquet")["error"].to_pylist()
    assert errors[0] is None
    assert "nobody" in errors[1]


def test_another_tokenizer(place, tiny_model, capfd) -> None:
    shutil.copytree(tiny_model, "other")
    made = json.loads(Path("other/tokenizer.json").read_bytes())
    made["normalizer"]["lowercase"] = False
    Path("other/tokenizer.json").write_text(json.dumps(made))
    ours, theirs = (PairTokenizer.load(name).fingerprint[:8] for name in ("other", str(tiny_model)))
    assert problem(capfd, "features", "-o", "x.jsonl", "--model", "other", code=3) == (
        f"Error: features: was made with another tokenizer ({theirs}) than that of other ({ours}); make the features "
        "again with --model other, or name the model they were made for\n"
    )


def test_windows_longer_than_the_model_reads(place, tiny_model, capfd) -> None:
    shutil.copytree(tiny_model, "short")
    config = json.loads(Path("short/config.json").read_bytes())
    weights = pytest.importorskip("safetensors.numpy")
    tensors = weights.load_file("short/model.safetensors")
    name = next(name for name in tensors if "position_embeddings" in name)
    weights.save_file(tensors | {name: tensors[name][:40]}, "short/model.safetensors", metadata={"format": "pt"})
    Path("short/config.json").write_text(json.dumps(config | {"max_position_embeddings": 40}))
    assert problem(capfd, "features", "-o", "x.jsonl", "--model", "short", code=3) == (
        "Error: features: holds windows of 60 tokens, and the model reads at most 40; make the features again with "
        "--max-length 40 or less\n"
    )


def test_features_without_all_windows(place, tiny_model, capfd) -> None:
    row = {"id": "a", "question": "Who?", "context": "Mrs Hollins has the key. " * 30}
    write(place / "in.jsonl", [row | {"answers": {"text": ["Mrs Hollins"], "answer_start": [0]}}])
    prepare(tiny_model, "--negatives-per-positive", 1)
    error = problem(capfd, "features", "-o", "x.jsonl", code=3)
    assert error.startswith("Error: features: ")
    assert error.endswith(
        " windows were left out when it was made (--negatives-per-positive), and an answer may stand in any of them; "
        "make the features again without that option, or extract from the raw input\n"
    )
    assert not list(Path().glob("x.jsonl*"))
    prepare(tiny_model, "--negatives-per-positive", 1000)
    run("extract", "features", "-o", "x.jsonl", "-q", "--backend", "constant")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["in.jsonl"], ["INPUT features: holds features, which are answered by themselves; drop the other inputs"]),
        (["features"], ["INPUT features: holds features, which are answered by themselves; drop the other inputs"]),
        (
            ["--question", "Who?", "--column", "question=q"],
            [
                "--question: features holds features, which have their questions with them; drop it",
                "--column question=q: features holds features, where question has its own name; drop it",
            ],
        ),
        (
            ["--questions", "in.jsonl"],
            ["--questions: features holds features, which have their questions with them; drop it"],
        ),
        (
            ["--summary", "features/audit.json", "--log-file", "features/log"],
            [
                "--summary features/audit.json: lies in the features that are read; name a path outside features",
                "--log-file features/log: lies in the features that are read; name a path outside features",
            ],
        ),
        (
            ["-o", "features/x.parquet"],
            ["-o features/x.parquet: lies in the features that are read; name a path outside features"],
        ),
        (["-o", "features/"], ["INPUT features: is also the output (-o); name another output"]),
    ],
)
def test_what_makes_no_sense_with_features(place, capfd, words, expected) -> None:
    output = [] if "-o" in words else ["-o", "x.jsonl"]
    assert problem(capfd, "features", *output, *words, code=2).splitlines() == [f"Error: {one}" for one in expected]
    assert not list(Path().glob("x.jsonl*"))


def with_cells(table: pa.Table, name: str, change) -> pa.Table:
    """The table with every cell of a column changed."""
    place, field = table.schema.get_field_index(name), table.schema.field(name)
    cells = pa.array([change(value) for value in table[name].to_pylist()], field.type)
    return table.set_column(place, field, cells)


DAMAGE = {
    "a context was mended": ("examples", "context", lambda text: text and f"{text}.", "cut from; make"),
    "a token was changed": ("features", "input_ids", lambda ids: [7, *ids[1:]], "(other windows would be cut); make"),
    "lists of other lengths": ("features", "input_ids", lambda ids: ids[1:], "contradict each other; make"),
    "a column is missing": ("features", "offset_mapping", None, "are not those of features"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_features(place, capfd, damage) -> None:
    kind, column, change, told = DAMAGE[damage]
    path = Path(f"features/{kind}-00000-of-00007.parquet")
    table = pq.read_table(path)
    pq.write_table(table.drop_columns([column]) if change is None else with_cells(table, column, change), path)
    error = problem(capfd, "features", "-o", "x.jsonl", "--backend", "constant", "--on-error", "skip", code=3)
    assert error.startswith("Error: features")
    assert told in error
    assert error.endswith("again\n")
    assert error.count("\n") == 1


@pytest.mark.parametrize("place_of", [0, -1])
def test_a_window_that_is_missing(place, capfd, place_of) -> None:
    """Whatever the manifest says: without its last window a context would only seem to be shorter."""
    path = Path("features/features-00001-of-00007.parquet")
    table = pq.read_table(path)
    keep = [row for row in range(table.num_rows) if row != place_of % table.num_rows]
    pq.write_table(table.take(keep), path)
    call = ["features", "-o", "x.jsonl", "--backend", "constant", "--on-error", "skip"]
    error = f"{path}: has {len(keep)} rows where the manifest says {table.num_rows}; make the features again"
    assert problem(capfd, *call, code=3) == f"Error: {error}\n"
    manifest = json.loads(Path("features/manifest.json").read_bytes())
    manifest["files"][1]["features"] = len(keep)
    Path("features/manifest.json").write_text(json.dumps(manifest))
    assert problem(capfd, *call, code=3) == f"Error: {path}: does not hold all windows; make the features again\n"


def test_no_examples(place, tiny_model) -> None:
    write(place / "in.jsonl", [])
    prepare(tiny_model)
    run(
        "extract",
        "features",
        "-o",
        "x.parquet",
        "-q",
        "--backend",
        "constant",
        "--column",
        "gold=answers",
        "--keep",
        "gold",
    )
    assert pq.read_table("x.parquet").num_rows == 0
    assert cli.run(["extract", "features", "-o", "y.parquet", "-q", "--dry-run", "--backend", "constant"]) == 0
