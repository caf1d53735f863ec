"""Documents are ranked before any is asked: which are asked, how far behind they start, and what stays whole."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from featurehelpers import run, write
from support import FIXTURES
from tokenizerhelpers import pair_tokenizer

from qatool.errors import InputError, RowsRejected
from qatool.extraction.best import ranking
from qatool.extraction.best.ranking import rank_documents
from qatool.files.examples.corpus import open_corpus
from qatool.files.sources.paths import resolve
from qatool.windows.choose import PRIOR_WEIGHT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from qatool.extraction.best.ranking import Ranking
    from qatool.files.examples.documents import AskedDocuments

DOCUMENTS = [
    "The lighthouse was built of granite in 1822.",
    "Nobody knows who painted the harbour office.",
    "",
    "A ferry leaves the harbour every morning, and the lighthouse is closed.",
    "Sheep graze above the cliffs.",
    "The granite came from a quarry across the bay.",
    "Old maps show a mill beside the brook.",
]
ASKED = ["Of what was the lighthouse built?", "Who painted the harbour office?", "What is it?"]


def asked_documents(folder: Path, documents: Sequence[str | None], asked: Sequence[str]) -> AskedDocuments:
    write(folder / "documents.jsonl", [{"id": f"d{n}", "context": text} for n, text in enumerate(documents)])
    write(folder / "questions.jsonl", [{"id": f"q{n}", "question": text} for n, text in enumerate(asked)])
    corpus = open_corpus(
        resolve([str(folder / "documents.jsonl")]),
        questions=resolve([str(folder / "questions.jsonl")])[0],
        on_error="skip",
    )
    assert corpus.documents is not None
    return corpus.documents


def ranked(documents: AskedDocuments, most: int | None) -> Ranking:
    found = rank_documents(documents, pair_tokenizer("wordpiece"), most=most)
    assert found is not None
    return found


def ids(documents: AskedDocuments) -> list[str]:
    return [one.id for one in documents.examples()]


def test_the_most_relevant_documents(tmp_path) -> None:
    documents = asked_documents(tmp_path, DOCUMENTS, ASKED)
    found = ranked(documents, 2)
    chosen = documents.only(found.pairs)
    # The last question shares nothing with any: its documents are spread over all of them.
    assert ids(chosen) == ["d0/q0", "d0/q2", "d1/q1", "d3/q0", "d3/q1", "d3/q2"]
    assert chosen.total() == len(found.prior) == 6
    prior = dict(zip(ids(chosen), found.prior.tolist(), strict=True))
    assert {name for name, value in prior.items() if value == 0} == {"d0/q0", "d0/q2", "d1/q1", "d3/q2"}
    assert prior["d3/q0"] < 0
    assert prior["d3/q1"] < 0


def test_of_all_documents_the_same_prior(tmp_path) -> None:
    documents = asked_documents(tmp_path, DOCUMENTS, ASKED)
    some, every = ranked(documents, 2), ranked(documents, None)
    assert every.pairs is None
    known = dict(zip(ids(documents), every.prior.tolist(), strict=True))
    assert len(known) == len(every.prior) == len(DOCUMENTS) * len(ASKED)
    assert [known[name] for name in ids(documents.only(some.pairs))] == some.prior.tolist()
    # What shares nothing with the question is as far behind as the best is relevant.
    assert known["d4/q0"] == known["d2/q0"] == min(known[f"d{n}/q0"] for n in range(len(DOCUMENTS)))
    assert known["d4/q0"] < -PRIOR_WEIGHT


def test_few_documents_have_no_prior(tmp_path) -> None:
    found = ranked(asked_documents(tmp_path, DOCUMENTS[:5], ASKED), None)
    assert not found.prior.any()


def test_fewer_documents_than_may_be_asked(tmp_path) -> None:
    documents = asked_documents(tmp_path, DOCUMENTS, [ASKED[0], ASKED[2]])
    # Of those that share nothing with a question none is asked, where others do.
    every = ids(documents.only(ranked(documents, 100).pairs))
    assert [name for name in every if name.endswith("/q1")] == [f"d{n}/q1" for n in range(len(DOCUMENTS))]
    fitting = {name for name in every if name.endswith("/q0")}
    assert {"d0/q0", "d3/q0"} <= fitting
    assert fitting.isdisjoint({"d2/q0", "d4/q0"})


def test_bad_rows_stay_with_all_their_questions(tmp_path) -> None:
    documents = asked_documents(tmp_path, [*DOCUMENTS, None, DOCUMENTS[0]], ASKED)
    found = ranked(documents, 1)
    examples = list(documents.only(found.pairs).examples())
    assert [one.id for one in examples if one.error is not None] == ["d7/q0", "d7/q1", "d7/q2"]
    assert [one.id for one in examples if one.error is None] == ["d0/q0", "d0/q2", "d1/q1"]


def test_bad_rows_are_no_part_of_the_collection(tmp_path) -> None:
    (tmp_path / "b").mkdir()
    plain = ranked(asked_documents(tmp_path, DOCUMENTS, ASKED), None)
    found = ranked(asked_documents(tmp_path / "b", [None, *DOCUMENTS, None, None], ASKED), None)
    assert found.prior.tolist()[3:-6] == plain.prior.tolist()


def test_of_too_little_that_is_shared_it_is_still_more_than_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(ranking, "WEAK_RELEVANCE", 100.0)
    texts = [f"{'Sheep graze' if number % 2 else 'Nothing happens'} in field {number}." for number in range(30)]
    documents = asked_documents(tmp_path, texts, ["Why do sheep eat?"])
    chosen = ids(documents.only(ranked(documents, 4).pairs))
    assert chosen == [f"d{number}/q0" for number in (1, 7, 15, 23)]


def test_a_row_that_is_bad_in_a_kept_column_only(tmp_path, call, capfd) -> None:
    notes = pa.array([b"fine", b"\xff\xfe", b"fine", b"fine"])
    table = pa.table({"context": DOCUMENTS[:2] + DOCUMENTS[3:5], "note": notes.view(pa.binary())})
    strings = pa.Array.from_buffers(pa.string(), 4, table["note"].combine_chunks().buffers())
    pq.write_table(table.set_column(1, "note", strings), tmp_path / "documents.parquet")
    call[1] = "documents.parquet"
    run(*call, "--keep", "note", "--max-documents", 1, "-o", "x.parquet", code=3)
    assert "Error: documents.parquet row 1: " in capfd.readouterr().err
    run(
        *call,
        "--keep",
        "note",
        "--max-documents",
        1,
        "-o",
        "x.parquet",
        "--on-error",
        "skip",
        code=RowsRejected.exit_code,
    )
    assert json.loads((tmp_path / "x.parquet.summary.json").read_text())["rejected"] == len(ASKED)


def test_the_first_bad_row_is_told_before_the_model_is_loaded(tmp_path, call, capfd) -> None:
    asked_documents(tmp_path, [None, *DOCUMENTS], ASKED)
    call[call.index("--backend") + 1] = "torch"
    (tmp_path / "model").mkdir()
    run(*call, "-o", "x.parquet", code=3)
    assert capfd.readouterr().err == (
        "Error: documents.jsonl:1: context is null; mend the row, or add --on-error skip to set such rows aside\n"
    )
    # What lies behind a limit is not looked at.
    asked_documents(tmp_path, [*DOCUMENTS, None], ASKED)
    call[call.index("torch")] = "constant"
    run(*call, "-o", "x.parquet", "--limit", 3)


@pytest.mark.parametrize("most", [(), ("--max-documents", 3)])
@pytest.mark.parametrize("documents", [[], [None, None]])
def test_where_no_document_can_be_read(tmp_path, call, documents, most) -> None:
    asked_documents(tmp_path, documents, ASKED)
    run(*call, *most, "-o", "x.parquet", "--on-error", "skip", code=RowsRejected.exit_code if documents else 0)
    assert [row["error"] is None for row in kept(tmp_path / "x.parquet")] == [False] * len(documents) * len(ASKED)


def test_a_question_that_stands_twice_is_answered_twice(tmp_path, call) -> None:
    asked_documents(tmp_path, DOCUMENTS, [ASKED[0]])
    run(*call, "-o", "one.jsonl", "--top-k", 3)
    line = (tmp_path / "questions.jsonl").read_text()
    (tmp_path / "questions.jsonl").write_text(line * 2)
    run(*call, "-o", "two.jsonl", "--top-k", 3)
    one, two = ((tmp_path / name).read_text().splitlines() for name in ("one.jsonl", "two.jsonl"))
    assert len(one) == 3
    assert two == [*one, *one]


def test_nothing_is_ranked_for_questions_that_name_their_document(tmp_path) -> None:
    write(tmp_path / "d.jsonl", [{"id": "d0", "context": "x"}])
    write(tmp_path / "q.jsonl", [{"question": "Who?", "document_id": "d0"}])
    corpus = open_corpus(resolve([str(tmp_path / "d.jsonl")]), questions=resolve([str(tmp_path / "q.jsonl")])[0])
    tokenizer = pair_tokenizer("wordpiece")
    assert rank_documents(corpus.documents, tokenizer, most=1) is None


def test_told_where_there_is_nothing_to_rank(tmp_path, call, capfd) -> None:
    write(tmp_path / "questions.jsonl", [{"question": "Who?", "document_id": "d0"}])
    run(*call, "--max-documents", 1, "-o", "x.parquet")
    assert (
        "WARNING --max-documents: has no effect, as no question is asked of all documents\n" in capfd.readouterr().err
    )


@pytest.mark.parametrize("count", [6, 8])
def test_documents_that_come_or_go_meanwhile(tmp_path, count) -> None:
    documents = asked_documents(tmp_path, DOCUMENTS, ASKED)
    chosen = documents.only(ranked(documents, 2).pairs)
    write(tmp_path / "documents.jsonl", [{"id": f"d{n}", "context": "Sheep."} for n in range(count)])
    with pytest.raises(InputError, match="documents came or went while the input was read; let it rest"):
        list(chosen.examples())


def test_however_many_are_tokenised_at_once(tmp_path, monkeypatch) -> None:
    texts = [json.loads(line)["context"] for line in (FIXTURES / "documents.jsonl").read_text().splitlines()]
    asked = [json.loads(line)["question"] for line in (FIXTURES / "questions.jsonl").read_text().splitlines()]
    documents = asked_documents(tmp_path, texts, asked)
    whole = ranked(documents, 3)
    for name, value in (("_ROWS", 2), ("_CHARACTERS", 100)):
        with monkeypatch.context() as patch:
            patch.setattr(ranking, name, value)
            found = ranked(documents, 3)
        assert found.prior.tobytes() == whole.prior.tobytes()
        assert found.pairs.question.tolist() == whole.pairs.question.tolist()


def test_fixtures_find_their_documents(tmp_path) -> None:
    texts = [json.loads(line) for line in (FIXTURES / "documents.jsonl").read_text().splitlines()]
    asked = [json.loads(line) for line in (FIXTURES / "questions.jsonl").read_text().splitlines()]
    place = {one["id"]: number for number, one in enumerate(texts)}
    documents = asked_documents(tmp_path, [one["context"] for one in texts], [one["question"] for one in asked])
    pairs = set(ids(documents.only(ranked(documents, 3).pairs)))
    found = [f"d{place[one['document_id']]}/q{number}" in pairs for number, one in enumerate(asked)]
    assert np.mean(found) > 0.6


@pytest.fixture
def call(tmp_path: Path, tiny_model: Path, monkeypatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    asked_documents(tmp_path, DOCUMENTS, ASKED)
    words = ["--backend", "constant", "--model", str(tiny_model), "--progress", "none", "--always-answer"]
    return ["extract", "documents.jsonl", "--questions", "questions.jsonl", "--best-per", "question", *words]


def kept(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()


def test_only_those_are_asked(tmp_path, call) -> None:
    run(*call, "--max-documents", 2, "-o", "two.parquet", "--top-k", 9, "--keep-run")
    log = [json.loads(line) for line in (tmp_path / "two.parquet.qatool" / "log.jsonl").read_text().splitlines()]
    assert [(one["documents"], one["pairs"]) for one in log if one["event"] == "ranked"] == [(len(DOCUMENTS), 6)]
    told = json.loads((tmp_path / "two.parquet.summary.json").read_text())
    assert told["stages_seconds"]["rank"] > 0
    assert told["load_seconds"] > 0
    assert (told["examples"], told["rows_written"]) == (6, 6)
    assert (told["questions"], told["questions_answered"]) == (3, 3)
    assert sorted(row["id"] for row in kept(tmp_path / "two.parquet")) == [
        "d0/q0", "d0/q2", "d1/q1", "d3/q0", "d3/q1", "d3/q2",
    ]  # fmt: skip
    about = json.loads(pq.read_schema(tmp_path / "two.parquet").metadata[b"qatool"])
    assert (about["best_per"], about["max_documents"]) == ("question", 2)
    run(*call, "--max-documents", 2, "--dry-run", "--restart", "--summary", "told.json", "-o", "two.parquet")
    assert json.loads((tmp_path / "told.json").read_text())["examples"] == 6


def test_dry_run_shows_and_counts_the_ranking(call, monkeypatch, capsys) -> None:
    def slowly(*arguments: Any, **named: Any) -> Any:
        return replace(rank_documents(*arguments, **named), seconds=1_000.0)

    monkeypatch.setattr(ranking, "rank_documents", slowly)
    run(*call, "-o", "x.parquet", "--dry-run", "--progress", "plain", "--summary", "-")
    told = capsys.readouterr()
    assert "7 of 7 documents" in told.err
    assert json.loads(told.out)["seconds"] >= 1_000


def test_a_document_that_fits_better_comes_first(tmp_path, call) -> None:
    """The constant model likes every document of one length alike: what is left to rank by is the prior."""
    texts = ["Sheep graze here.", "Maps show a mill.", "The granite lighthouse.", *(f"Number {n}." for n in range(5))]
    asked_documents(tmp_path, texts, ["Where is the granite lighthouse?"])
    run(*call, "-o", "best.parquet", "--top-k", 3)
    rows = kept(tmp_path / "best.parquet")
    assert rows[0]["document_id"] == "d2"
    assert rows[0]["score"] > 2 * rows[1]["score"]
    assert sum(row["score"] for row in rows) <= 1


def test_questions_keep_their_order(tmp_path, call) -> None:
    asked_documents(tmp_path, DOCUMENTS, [*reversed(ASKED), ASKED[0]])
    run(*call, "--max-documents", 1, "-o", "best.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "best.jsonl").read_text().splitlines()]
    assert [row["question"] for row in rows] == [*reversed(ASKED), ASKED[0]]


def test_continued_with_other_documents(tmp_path, call) -> None:
    """What was answered before is kept by its words, whichever documents are asked now."""
    run(*call, "--max-documents", 1, "--shard-rows", 1, "-o", "x.parquet", "--keep-run")
    run(*call, "--max-documents", 3, "--shard-rows", 1, "-o", "y.parquet")
    (tmp_path / "x.parquet").unlink()
    run(*call, "--max-documents", 3, "--shard-rows", 1, "-o", "x.parquet")
    assert kept(tmp_path / "x.parquet") == kept(tmp_path / "y.parquet")


def test_told_of_questions_that_fit_nothing(call, capfd) -> None:
    run(*call, "--max-documents", 2, "-o", "x.parquet")
    assert (
        "WARNING --max-documents 2: 1 of 3 questions shared too little with any document to tell which are relevant; "
        "those asked are spread over the collection\n"
    ) in capfd.readouterr().err


def test_needs_best_per(tmp_path, call, capfd) -> None:
    words = [word for word in call if word not in {"--best-per", "question"}]
    run(*words, "--max-documents", 2, "-o", "x.parquet", code=2)
    assert capfd.readouterr().err == (
        "Error: --max-documents 2: needs --best-per question; there is a row for every document otherwise\n"
    )
    run(*call, "--max-documents", 0, "-o", "x.parquet", code=2)
    assert capfd.readouterr().err == "Error: --max-documents 0: must be at least 1\n"
