"""``evaluate --window-recall``: do the windows that are read hold the answer?"""

from __future__ import annotations

import json

import pytest

from qatool.cli.show.figures import table_lines
from qatool.commands import evaluate, extract
from qatool.evaluation.measures.windowrecall import READ, window_recall
from qatool.options import EvaluateOptions, ExtractOptions
from qatool.schema import Example
from qatool.windows.cut import WindowSize
from qatool.windows.tokenizer import PairTokenizer

SIZE = WindowSize(max_length=80, stride=40, question_budget=12)


def example(question: str, context: str, answer: str | None, **changed) -> Example:
    found = [] if answer is None else [context.index(answer)]
    labels = {"text": [] if answer is None else [answer], "answer_start": found}
    return Example("e", question, context, "row 0", kept={"answers": labels, **changed})


def document(*, needle: str, at: int, sentences: int = 60) -> str:
    said = [f"It rained on the day with the number {n} and nobody came." for n in range(sentences)]
    said.insert(at, needle)
    return " ".join(said)


@pytest.fixture
def tokenizer(tiny_model) -> PairTokenizer:
    return PairTokenizer.load(str(tiny_model))


def test_an_answer_that_shares_the_questions_words_is_found_first(tokenizer) -> None:
    text = document(needle="The zebra quarrelled with the judge.", at=33)
    found = window_recall([example("Why quarrelled the zebra?", text, "judge")], tokenizer=tokenizer, size=SIZE)
    assert found["questions"] == 1
    assert found["windows"] > 10
    assert found["auto_windows"] == 2.0, "neighbouring windows overlap, and both hold it"
    assert set(found["read"].values()) == {100.0}


def test_an_answer_elsewhere_is_found_late_or_never(tokenizer) -> None:
    text = document(needle="The zebra quarrelled.", at=33)
    found = window_recall(
        [example("Why quarrelled the zebra?", text, "number 5 and")], tokenizer=tokenizer, size=SIZE
    )
    assert found["read"]["1"] == 0.0
    shares = [found["read"][str(count)] for count in READ if count != "auto"]
    assert shares == sorted(shares)


def test_only_answerable_questions_of_long_documents_count(tokenizer) -> None:
    text = document(needle="The zebra quarrelled with the judge.", at=3)
    examples = [
        example("Why quarrelled the zebra?", text, None),
        example("Why quarrelled the zebra?", "The zebra quarrelled.", "zebra"),
        Example("b", None, None, "row 2", error="question is missing"),
        example("Why quarrelled the zebra?", text, "judge")._replace(
            kept={"answers": {"text": ["not there at all"], "answer_start": [0]}}
        ),
    ]
    found = window_recall(examples, tokenizer=tokenizer, size=SIZE)
    assert found == {"questions": 0, "windows": 0.0, "auto_windows": 0.0, "read": {}}


def test_the_command_cuts_as_the_answers_were_cut(tiny_model, tmp_path) -> None:
    text = document(needle="The zebra quarrelled with the judge.", at=33)
    labels = {"text": ["judge"], "answer_start": [text.index("judge")]}
    rows = tmp_path / "rows.jsonl"
    row = {"id": "a", "question": "Why quarrelled the zebra?", "context": text, "answers": labels}
    rows.write_text(json.dumps(row) + "\n")
    windows = {}
    for length in (80, 120):
        output = str(tmp_path / f"{length}.parquet")
        extract.run(
            ExtractOptions(inputs=(str(rows),), output=output, model=str(tiny_model), max_length=length, stride=40)
        )
        options = EvaluateOptions(answers=output, references=str(rows), window_recall=True, model=str(tiny_model))
        found = evaluate.run(options).figures
        windows[length] = found["window_recall"]["windows"]
        assert found["window_recall"]["read"]["1"] == 100.0
    assert windows[80] > 1.5 * windows[120]
    lines = table_lines(found)
    read = found["window_recall"]["auto_windows"]
    assert 1 <= read <= 3
    told = (
        f"1 answerable questions of long documents, {windows[120]:.1f} windows each; auto reads {read:.1f} passages"
    )
    assert any(line.startswith(f"{told}; ") for line in lines)
    assert any(line.split() == ["windows", "read", *map(str, READ)] for line in lines)


def test_only_what_is_evaluated_counts(tiny_model, tmp_path) -> None:
    text = document(needle="The zebra quarrelled with the judge.", at=33)
    labels = {"text": ["judge"], "answer_start": [text.index("judge")]}
    rows = [{"id": one, "question": "Why quarrelled the zebra?", "context": text, "answers": labels} for one in "ab"]
    references, answers = tmp_path / "rows.jsonl", tmp_path / "answers.json"
    references.write_text("".join(json.dumps(row) + "\n" for row in rows))
    answers.write_text('{"b": "judge"}')
    options = EvaluateOptions(
        answers=str(answers), references=str(references), window_recall=True, partial=True, model=str(tiny_model)
    )
    found = evaluate.run(options).figures
    assert found["total"] == found["window_recall"]["questions"] == 1


def test_without_the_option_nothing_is_cut(tiny_model, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(PairTokenizer, "load", lambda *_, **__: pytest.fail("a tokenizer was loaded"))
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": "a", "question": "q", "context": "c", "answers": {"text": ["c"], "answer_start": [0]}}\n')
    answers = tmp_path / "answers.json"
    answers.write_text('{"a": "c"}')
    found = evaluate.run(EvaluateOptions(answers=str(answers), references=str(rows))).figures
    assert "window_recall" not in found
