"""Unanswerable examples made of answerable ones: of another context, of one cut, with another question."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from random import Random

import pytest

from qatool.commands.prep import run
from qatool.errors import UsageError
from qatool.features.negatives import with_altered_questions, with_cut_contexts, with_negatives
from qatool.features.negatives.alteredquestions import altered
from qatool.features.negatives.cutcontexts import without_answers
from qatool.features.negatives.othercontexts import NEIGHBOURS, with_other_contexts
from qatool.features.reader import FeaturesFolder
from qatool.options import FinetuneOptions, PrepOptions
from qatool.schema import Example

TEXTS = {
    "harbour": "The harbour of Brell was dredged in 1911 by the company of Osk.",
    "harbour too": "Ships enter the harbour of Brell at high tide; the pilot is called Venn.",
    "bakery": "The baker of Lum sells rye bread on Mondays.",
    "venn": "Venn was born in Osk and learned the trade of a pilot.",
}

LONG = (
    "The harbour of Brell was dredged in 1911 by the company of Osk. Its pilots had asked for that for many years! "
    'In 1932 "the long quay" was built. Since then ships of 200 m can enter, whatever the tide, and turn in the '
    "basin before the warehouses of Lum, where they are unloaded within a day."
)


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


@pytest.mark.parametrize("made_by", [with_other_contexts, with_cut_contexts, with_altered_questions])
def test_bad_and_blank_rows_pass_through(made_by) -> None:
    bad = Example("b", None, None, "row 1", error="question is missing")
    blank = example("harbour", " ", ["1911"])
    wrong = Example("w", "Who was first in 1911?", "c", "row 3", kept={"answers": 3})
    none = example(LONG, "Who was first in 1911?", [])
    assert list(made_by([bad, blank, wrong, none], 1.0)) == [bad, blank, wrong, none]


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


@pytest.mark.parametrize(("made_by", "mark"), [(with_cut_contexts, "cut"), (with_altered_questions, "altered")])
def test_other_kinds_come_behind_their_own_and_in_their_share(made_by, mark) -> None:
    rows = [example(LONG, f"Who dredged harbour {n} in 1911?", ["the company of Osk"], n) for n in range(400)]
    found = list(made_by(rows, 0.25))
    assert [one for one in found if not one.id.endswith(f"#{mark}")] == rows
    assert 60 <= len(found) - 400 <= 140
    assert found == list(made_by(iter(rows), 0.25))
    for own, one in pairwise(found):
        if one.id.endswith(f"#{mark}"):
            assert one.id == f"{own.id}#{mark}"
            assert one.kept == {"answers": {"text": [], "answer_start": []}, "is_impossible": True}
            assert (one.question == own.question, one.context == own.context) == (mark == "cut", mark == "altered")


def test_every_sentence_with_an_answer_is_cut() -> None:
    cut = without_answers(LONG, ["1911", "pilots"])
    assert cut is not None
    assert cut.startswith('In 1932 "the long quay" was built. Since then')
    assert cut.endswith("within a day.")
    assert without_answers(LONG, ["1932"]) == LONG.replace('In 1932 "the long quay" was built. ', "")


@pytest.mark.parametrize(
    ("context", "answers"),
    [
        (LONG, ["no such thing"]),
        (LONG, ["e"]),
        (LONG, ["of Osk. Its pilots"]),
        ("One holds 1911. Two. Three.", ["1911"]),
        (LONG.replace(".", ",").replace("!", ","), ["1911"]),
    ],
    ids=["not there", "everywhere", "over a boundary", "too little remains", "one sentence"],
)
def test_contexts_that_cannot_be_cut(context, answers) -> None:
    assert without_answers(context, answers) is None


def test_sentences_of_other_scripts_end_as_well() -> None:
    sentence = "港口在很久以前就已经建成并且一直使用到今天为止从来没有停止过运作也没有搬迁到别的地方去过一次。"
    context = f"{sentence}一九一一年疏浚。{sentence}{sentence}{sentence}"
    assert without_answers(context, ["一九一一年"]) == 4 * sentence


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("Which quay of 1955?", r"Which quay of (?!1955)\d{4}\?"),
        ("Who came with 350 m?", r"Who came with 200 m\?"),
        ("Who lives in Venn?", r"Who lives in (Brell|Osk|Lum)\?"),
        ("Who lives in Venn's house?", r"Who lives in (Brell|Osk|Lum)'s house\?"),
        ("who was first?", r"who was last\?"),
        ("who left?", r"who (right|arrived|joined|remained)\?"),
    ],
)
def test_how_questions_are_altered(question, wanted) -> None:
    for seed in range(20):
        found = altered(question, LONG, ["the pilots"], [], Random(seed))
        assert found is not None
        assert re.fullmatch(wanted, found), found


def test_a_verb_is_negated_at_times() -> None:
    found = {altered("how did ships enter it?", LONG, ["tide"], [], Random(seed)) for seed in range(60)}
    assert found == {None, "how didn't ships enter it?"}


def test_neighbours_lend_names_and_answers_do_not() -> None:
    for seed in range(20):
        found = altered("Who lives in Venn?", "Osk is here.", ["the Osk"], ["He is called Karl Tunn."], Random(seed))
        assert found == "Who lives in Karl Tunn?"
    assert altered("Who lives in Venn?", "Osk is here, in 1911.", ["Osk", "1911"], ["Osk"], Random(0)) is None


def test_hostile_texts_are_altered_in_no_time() -> None:
    texts = [
        "A" * 100_000,
        "A." * 50_000,
        "A of " * 20_000,
        "A-" * 50_000 + "." * 50_000,
        "1," * 50_000,
        "\n" * 100_000,
    ]
    for text in texts:
        altered(f"Where is {text}?", text, ["x"], texts, Random(0))
        without_answers(text, ["A"])


def test_kinds_together_are_made_of_the_given_examples_alone() -> None:
    rows = [example(LONG, "Who dredged Brell in 1911?", ["the company of Osk"]), example("bakery", "Who?", None, 1)]
    found = list(with_negatives(rows, {"other_contexts": 1.0, "cut_contexts": 1.0, "altered_questions": 1.0}))
    assert sorted(one.id for one in found) == ["e0", "e0#altered", "e0#cut", "e0#other", "e1"]
    assert list(with_negatives(rows, {"other_contexts": 0.0, "cut_contexts": 0.0})) == rows


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
    with pytest.raises(UsageError, match=r"--altered-questions -1: is a share; give a number from 0 to 1"):
        FinetuneOptions(inputs=("a",), output="b", altered_questions=-1)
