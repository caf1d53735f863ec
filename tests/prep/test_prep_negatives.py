"""Unanswerable examples made by asking of another context."""

from __future__ import annotations

import json

import pytest

from qatool.commands.prep import run
from qatool.errors import UsageError
from qatool.features.negatives import NEIGHBOURS, with_other_contexts
from qatool.features.reader import FeaturesFolder
from qatool.options import PrepOptions
from qatool.schema import Example

TEXTS = {
    "harbour": "The harbour of Brell was dredged in 1911 by the company of Osk.",
    "harbour too": "Ships enter the harbour of Brell at high tide; the pilot is called Venn.",
    "bakery": "The baker of Lum sells rye bread on Mondays.",
    "venn": "Venn was born in Osk and learned the trade of a pilot.",
}


def example(context: str, question: str, answers: list[str] | None, number: int = 0) -> Example:
    text = TEXTS.get(context, context)
    kept = {} if answers is None else {"answers": {"text": answers, "answer_start": [text.find(a) for a in answers]}}
    return Example(f"e{number}", question, text, f"here row {number}", kept=kept)


def made(examples: list[Example], ratio: float = 1.0) -> list[Example]:
    return [found for found in with_other_contexts(examples, ratio) if found.id.endswith("#other")]


def test_the_other_context_is_like_the_question_and_lacks_the_answer() -> None:
    asked = example("harbour", "When was the harbour of Brell dredged?", ["1911"])
    rest = [example(name, "Who?", None) for name in ("harbour too", "bakery")]
    found = made([asked, *rest])
    assert len(found) == 1
    assert found[0].question == asked.question
    assert found[0].context in {TEXTS["harbour too"], TEXTS["bakery"]}
    assert found[0].kept == {"answers": {"text": [], "answer_start": []}, "is_impossible": True}


def test_a_context_with_the_answer_is_none() -> None:
    asked = example("harbour", "Which company dredged the harbour?", ["Osk"])
    assert not made([asked, example("venn", "Who?", None)])
    assert made([asked, example("venn", "Who?", None), example("bakery", "Who?", None)])[0].context == TEXTS["bakery"]


def test_what_shares_the_questions_words_comes_first() -> None:
    fillers = [example(f"Filler number {n} speaks of nothing.", "Who?", None) for n in range(20)]
    asked = example("harbour", "When was the harbour of Brell dredged by ships at tide?", ["1911"])
    near = [example(f"The harbour of Brell, ships, tide, part {n}.", "Who?", None) for n in range(3)]
    assert all(found.context in {one.context for one in near} for found in made([*fillers, asked, *near]))


@pytest.mark.parametrize("answers", [None, []])
def test_only_answerable_examples_are_asked_again(answers) -> None:
    assert not made([example("harbour", "Why?", answers), example("bakery", "Who?", None)])


def test_bad_and_blank_rows_pass_through() -> None:
    bad = Example("b", None, None, "row 1", error="question is missing")
    blank = example("harbour", " ", ["1911"])
    wrong = Example("w", "q", "c", "row 3", kept={"answers": 3})
    assert list(with_other_contexts([bad, blank, wrong], 1.0)) == [bad, blank, wrong]


def test_the_share_and_the_order() -> None:
    rows = [
        example(f"Context number {n} holds value v{n}.", f"Which value has {n}?", [f"v{n}."], n) for n in range(400)
    ]
    found = list(with_other_contexts(rows, 0.25))
    assert [one for one in found if not one.id.endswith("#other")] == rows
    assert 60 <= len(found) - 400 <= 140
    assert found == list(with_other_contexts(iter(rows), 0.25))
    # Each comes directly behind the one it was made of.
    assert all(found[i - 1].id + "#other" == one.id for i, one in enumerate(found) if one.id.endswith("#other"))


def test_only_neighbours_are_held() -> None:
    """The first is out before the last is read."""
    rows = (example(f"Context number {n}.", "Which?", ["Context"], n) for n in range(3 * NEIGHBOURS))
    stream = with_other_contexts(rows, 0.0)
    next(stream)
    assert next(rows).id == f"e{NEIGHBOURS + 1}"


def test_prep_counts_them_and_says_so(tiny_model, tmp_path) -> None:
    source = tmp_path / "rows.jsonl"
    rows = [
        {"id": name, "question": f"What of {name}?", "context": text}
        | {"answers": {"text": [text[:5]], "answer_start": [0]}}
        for name, text in [("a", "First words of one."), ("b", "Other words of two.")]
    ]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = PrepOptions(inputs=(str(source),), output=str(tmp_path / "f"), model=str(tiny_model), other_contexts=1)
    audit = run(options).audit
    assert (audit["answerable"], audit["unanswerable"]) == (2, 2)
    folder = FeaturesFolder(tmp_path / "f")
    assert folder.manifest.other_contexts == 1
    assert folder.example(1).values["id"] == "a#other"
    assert folder.example(1).values["context"] == "Other words of two."


def test_a_share_is_from_0_to_1() -> None:
    with pytest.raises(UsageError, match=r"--other-contexts 1\.5: is a share; give a number from 0 to 1"):
        PrepOptions(inputs=("a",), output="b", other_contexts=1.5)
