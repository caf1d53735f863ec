"""Unanswerable examples made of answerable ones: of another context, of one cut, with another question."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import pairwise
from random import Random

import pytest

from qatool.commands.prep import run
from qatool.errors import UsageError
from qatool.features.negatives import KINDS, with_altered_questions, with_cut_contexts, with_negatives
from qatool.features.negatives.alteredquestions import altered
from qatool.features.negatives.cutcontexts import without_answers
from qatool.features.negatives.othercontexts import NEIGHBOURS, with_other_contexts
from qatool.features.reader import FeaturesFolder
from qatool.options import FinetuneOptions, PrepOptions
from qatool.options.negatives import NEGATIVES
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


def test_a_question_that_the_other_context_is_asked_as_well_is_none() -> None:
    form = [
        example(f"Invoice number {n}, to be paid by the end of May.", "What is the number?", [f"{n}"])
        for n in range(3)
    ]
    assert not made(form)
    found = made([*form, example("bakery", "Who?", None)])
    assert [one.context for one in found] == [TEXTS["bakery"]] * 3


@pytest.mark.parametrize("answers", [["1899"], ["1911", "1899"]])
@pytest.mark.parametrize("made_by", [with_other_contexts, with_cut_contexts, with_altered_questions])
def test_nothing_is_made_of_a_label_that_does_not_fit(made_by, answers) -> None:
    rows = [
        example(LONG, "When was the harbour of Brell dredged, after 1890?", answers),
        example("bakery", "Who?", None),
    ]
    assert list(made_by(rows, 1.0)) == rows


@pytest.mark.parametrize("comes_first", [True, False])
def test_an_altered_question_that_the_input_asks_is_none(comes_first) -> None:
    asked = example(LONG, "Who made the longest quay?", ["the company of Osk"])
    known = example(LONG, "who made the  SHORTEST quay?", None)
    assert [one.question for one in with_altered_questions([asked], 1.0)][1:] == ["Who made the shortest quay?"]
    rows = [known, asked] if comes_first else [asked, known]
    assert list(with_altered_questions(rows, 1.0)) == rows


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
    assert without_answers(LONG, [" PILOTS\n"]) == without_answers(LONG, ["pilots"])
    assert without_answers(LONG, ["1932"]) == LONG.replace('In 1932 "the long quay" was built. ', "")


@pytest.mark.parametrize(
    ("context", "answers"),
    [
        (LONG, ["no such thing"]),
        (LONG, ["e"]),
        (LONG, ["of Osk. Its pilots"]),
        ("One holds 1911. Two. Three.", ["1911"]),
        ("x" * 160 + "。1911。", ["1911"]),
        (LONG.replace(".", ",").replace("!", ","), ["1911"]),
    ],
    ids=["not there", "everywhere", "over a boundary", "too little", "one sentence remains", "one sentence"],
)
def test_contexts_that_cannot_be_cut(context, answers) -> None:
    assert without_answers(context, answers) is None


@pytest.mark.parametrize("name", ["Dr. Tunn", "St. Osk", "J. K. Tunn", "the U.S. Navy"])
def test_a_short_form_ends_no_sentence(name) -> None:
    assert without_answers(f"{LONG} In 1950 {name} came.", ["1950"]) == LONG


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
        ("Can Venn swim?", r"Can (Brell|Osk|Lum) swim\?"),
        ("What lies in the Quiet Lands?", r"What lies in the (Brell|Osk|Lum)\?"),
        ("who came with the iPhone first?", r"who came with the iPhone last\?"),
        ("which enrichment is poor?", r"which enrichment is rich\?"),
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
    assert {altered("who was not there yet?", LONG, ["tide"], [], Random(seed)) for seed in range(60)} == {None}


@pytest.mark.parametrize(
    ("question", "context", "answer"),
    [
        ("who saw 5000 ships?", "It was 5,000 ships, says Tunn.", "Tunn"),
        ("between 340 and 350?", "From 340 to 350 it was.", "Tunn"),
        ("who saw the Roman army?", "There the Romans and a Romanian came.", "Tunn"),
        ("who lives in Venn?", "There is New\u00a0York.", "New York"),
        ("who lives in Venn?", "There is the\nDenver\n\nPost.", "the Denver Broncos and the Post"),
        ("где живёт Venn?", "там жил он.", "там"),
        ("WHO LIVES IN VENN?", "There is Tunn.", "there"),
        ("who is rich-blooded, or riché?", "There.", "there"),
    ],
    ids=["same number", "asked too", "forms of a word", "blanks", "lines", "Cyrillic", "capitals", "within words"],
)
def test_what_would_mean_the_same_or_nothing_is_not_taken(question, context, answer) -> None:
    for seed in range(30):
        assert altered(question, context, [answer], [], Random(seed)) is None


def test_names_of_other_scripts_are_runs_of_capitals_too() -> None:
    context = "В городе была Анна Сидорова вместе с ним."
    found = altered("где живёт Иван Петров сейчас?", context, ["х"], [], Random(0))
    assert found == "где живёт Анна Сидорова сейчас?"


def test_every_process_makes_the_same() -> None:
    """Words of a set, for one, come in another order in each."""
    code = (
        "import random\n"
        "from qatool.features.negatives import with_negatives\n"
        "from qatool.schema import Example\n"
        "words = [f'word{n}' for n in range(300)]\n"
        "dice = random.Random(4)\n"
        "rows = []\n"
        "for n in range(200):\n"
        "    text = ' '.join(dice.choices(words, k=60))\n"
        "    text += f'. Mister Tunn{n} had {n} in 1911. And Osk. So it was.'\n"
        "    kept = {'answers': {'text': [f'{n}'], 'answer_start': [text.index(f' {n} ') + 1]}}\n"
        "    asked = ' '.join(dice.choices(words, k=12)) + f' of Venn{n} in 1999?'\n"
        "    rows.append(Example(f'e{n}', asked, text, 'here', kept=kept))\n"
        "made = with_negatives(rows, {'other_contexts': 1, 'cut_contexts': 1, 'altered_questions': 1})\n"
        "print(hash('a'), sum(1 for _ in rows), [(e.id, e.question, e.context) for e in made])\n"
    )
    outputs = []
    for seed in (1, 2, 3):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONHASHSEED": str(seed)}
        )
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout.partition(" "))
    assert len({order for order, _, _ in outputs}) == 3
    assert len({made for _, _, made in outputs}) == 1
    assert outputs[0][2].count("#") > 400


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
    assert list(with_negatives(rows, dict.fromkeys(NEGATIVES, 0.0))) == rows


def test_neighbours_stay_neighbours_whatever_else_is_made() -> None:
    """What one kind makes lends nothing to another."""
    rows = [example(f"{LONG} Here is Tunn{n}.", "Who came with Venn?", ["the pilots"], n) for n in range(40)]
    alone, together = (
        [
            one.question
            for one in with_negatives(rows, {"altered_questions": 1.0, "cut_contexts": cut, "other_contexts": cut})
            if one.id.endswith("#altered")
        ]
        for cut in (0.0, 1.0)
    )
    assert alone == together


def test_the_options_are_the_kinds() -> None:
    assert sorted(NEGATIVES) == sorted(KINDS)


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
