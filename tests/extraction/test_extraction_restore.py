"""Windows put together again from features are those cut from the texts, for every family of tokenizers."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from extractionhelpers import extractor
from featurehelpers import SIZES, prepare, rows, with_bad_rows, write
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizerhelpers import FAMILIES, pair_tokenizer

from qatool.extraction.answering.shards import ShardLimits, cut_shards
from qatool.extraction.answering.stored import FeatureWindows
from qatool.features import reader
from qatool.features.examples import StoredExamples
from qatool.features.layout import Manifest
from qatool.features.reader import FeaturesFolder
from qatool.features.restore import StoredWindows, UnlikeTextsError, restore_windows
from qatool.files.examples.fields import parse_columns
from qatool.options import ExtractOptions
from qatool.windows.build import build_windows
from qatool.windows.choose import choose_windows
from qatool.windows.cut import WindowSize
from qatool.windows.tokenizer import PairTokenizer

SIZE = WindowSize(max_length=16, stride=5, question_budget=5)


def stored(examples, *, rows) -> StoredWindows:
    """The windows as ``qatool prep`` writes them."""
    made = examples.unpadded()
    return StoredWindows(
        row=np.asarray(rows)[examples.windows.overflow_to_sample_mapping],
        window=examples.windows.window,
        context_start=made.context_start,
        context_end=made.context_end,
        boundaries=made.boundaries,
        input_ids=made.input_ids,
        offset_mapping=made.offset_mapping,
        token_type_ids=made.token_type_ids,
    )


def built(tokenizer, questions, contexts, **more):
    return build_windows(questions, contexts, tokenizer=tokenizer, size=SIZE, question_offsets=True, **more)


def restored(tokenizer, windows, questions, contexts, *, rows, anew=None, **more):
    asked_anew = np.zeros(len(questions), dtype=bool) if anew is None else np.array(anew)
    return restore_windows(
        windows,
        questions,
        contexts,
        rows=np.asarray(rows, dtype=np.int64),
        asked_anew=asked_anew,
        tokenizer=tokenizer,
        size=SIZE,
        **more,
    )


def assert_alike(ours, theirs, tokenizer) -> None:
    for name in ("overflow_to_sample_mapping", "window", "context_start", "context_end", "n_windows", "n_cut"):
        np.testing.assert_array_equal(getattr(ours.windows, name), getattr(theirs.windows, name))
    every = np.arange(len(theirs.windows))
    for name, expected in dataclasses.asdict(theirs.assemble(every)).items():
        np.testing.assert_array_equal(getattr(ours.assemble(every), name), expected)
    for name in ("input_ids", "offsets", "offset_mapping"):
        np.testing.assert_array_equal(getattr(ours.contexts, name), getattr(theirs.contexts, name))
    np.testing.assert_array_equal(ours.context_index, theirs.context_index)
    chosen, expected = choose_windows(ours, 2, tokenizer), choose_windows(theirs, 2, tokenizer)
    np.testing.assert_array_equal(chosen.examples.windows.window, expected.examples.windows.window)
    np.testing.assert_array_equal(chosen.prior, expected.prior)


words = st.sampled_from(["the", "tall", "tenant", "é", ".", "\u200b", "\u4e2d", "\U0001f600", "\n", "it"])
texts = st.lists(words, max_size=30).map(" ".join) | st.text(max_size=20)


@settings(max_examples=40, deadline=None)
@given(pairs=st.lists(st.tuples(texts, texts), max_size=8), repeat=st.booleans(), gap=st.integers(0, 3))
@example(pairs=[("it", "\u200b")], repeat=False, gap=0)
@example(pairs=[("the tall \n", "the")], repeat=False, gap=0)
@pytest.mark.parametrize("family", FAMILIES)
def test_any_texts(family, pairs, repeat, gap) -> None:
    tokenizer = pair_tokenizer(family)
    pairs += [(f"{question}x", context) for question, context in pairs] if repeat else []
    questions, contexts = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    rows = np.arange(len(pairs)) * (1 + gap) + gap
    expected = built(tokenizer, questions, contexts)
    ours = restored(tokenizer, stored(expected, rows=rows), questions, contexts, rows=rows)
    assert_alike(ours, expected, tokenizer)
    has_windows = expected.windows.n_windows > 0
    # Only there does text behind the last token say that there were more: blanks may be tokens, or none.
    plain = np.array([q.isascii() and q.isprintable() and q == q.rstrip() for q in questions], dtype=bool)
    for row in np.flatnonzero(has_windows & plain):
        assert ours.question_is_cut[row] == expected.question_is_cut[row]


@pytest.mark.parametrize("family", FAMILIES)
def test_words_and_questions_asked_anew(family) -> None:
    tokenizer = pair_tokenizer(family)
    contexts = ["the tall tenant on the landing moved the piano " * 3, "nobody knows"]
    there = built(tokenizer, ["  who", "what"], contexts)
    expected = built(tokenizer, ["who", "what"], contexts, words=True)
    ours = restored(
        tokenizer, stored(there, rows=[4, 7]), ["who", "what"], contexts, rows=[4, 7], anew=[True, False], words=True
    )
    assert_alike(ours, expected, tokenizer)
    np.testing.assert_array_equal(ours.contexts.word_ids, expected.contexts.word_ids)


def spoilt(windows: StoredWindows, name: str, change) -> StoredWindows:
    values = getattr(windows, name).copy()
    change(values)
    return dataclasses.replace(windows, **{name: values})


def add_one(place):
    def change(values) -> None:
        values[place] += 1

    return change


DAMAGE = {
    "a token": ("input_ids", add_one(30)),
    "an offset of two windows": ("offset_mapping", add_one((22, 0))),
    "an offset outside": ("offset_mapping", lambda values: np.multiply(values, 1000, out=values)),
    "a token type": ("token_type_ids", add_one(3)),
    "a number": ("window", add_one(1)),
    "a start": ("context_start", add_one(0)),
    "an end": ("context_end", add_one(0)),
    "a start in front": ("context_start", lambda values: values.fill(0)),
    "a row": ("row", lambda values: values.fill(0)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found(damage) -> None:
    tokenizer = pair_tokenizer("wordpiece")
    questions, contexts = ["who is it", "what"], ["the tall tenant on the landing moved it " * 4, "nobody"]
    windows = stored(built(tokenizer, questions, contexts), rows=[0, 1])
    restored(tokenizer, windows, questions, contexts, rows=[0, 1])
    with pytest.raises(UnlikeTextsError):
        restored(tokenizer, spoilt(windows, *DAMAGE[damage]), questions, contexts, rows=[0, 1])


@pytest.mark.parametrize("dropped", [0, 1, 2])
def test_a_missing_window_is_found(dropped) -> None:
    tokenizer = pair_tokenizer("wordpiece")
    questions = ["who is it", "what"]
    contexts = ["the tall tenant on the landing moved it " * 4, "nobody knows it " * 9]
    windows = stored(built(tokenizer, questions, contexts), rows=[0, 1])
    fewer = windows.take(np.delete(np.arange(len(windows)), dropped))
    with pytest.raises(UnlikeTextsError):
        restored(tokenizer, fewer, questions, contexts, rows=[0, 1])


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, FeaturesFolder]:
    """Features in small parts of the same rows, by the tokenizer's family."""
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qatool.features.shards.cut_shards.__kwdefaults__", {"rows": 7, "characters": 10**6})
        for family, tokenizer in FAMILIES.items():
            folder = tmp_path_factory.mktemp(family)
            patch.chdir(folder)
            tokenizer().save_pretrained(folder)
            write(folder / "in.jsonl", with_bad_rows())
            prepare(folder, "--on-error", "skip", code=5)
            made[family] = FeaturesFolder(folder / "features")
    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_what_prep_wrote(family, folders) -> None:
    folder = folders[family]
    tokenizer = PairTokenizer.load(str(folder.path.parent))
    options = ExtractOptions(inputs=("features",), output="-", **_sizes())
    windows = FeatureWindows(folder, tokenizer, options)
    assert windows.size == WindowSize(max_length=60, stride=20, question_budget=12)
    readable = [(row, one) for row, one in enumerate(with_bad_rows()) if one in rows()]
    chosen = [(row, one) for row, one in readable if one["question"].strip() and one["context"].strip()][::3]
    questions, contexts = [one["question"] for _, one in chosen], [one["context"] for _, one in chosen]
    ours = windows.read(
        questions,
        contexts,
        rows=np.array([row for row, _ in chosen]),
        asked_anew=np.zeros(len(chosen), dtype=bool),
        words=False,
    )
    assert_alike(ours, build_windows(questions, contexts, tokenizer=tokenizer, size=windows.size), tokenizer)


def _sizes() -> dict[str, int]:
    return {name[2:].replace("-", "_"): int(value) for name, value in pairwise(SIZES) if name.startswith("--")}


@pytest.mark.parametrize("mode", ["native", "squad-script", "hf-pipeline"])
@pytest.mark.parametrize("family", FAMILIES)
def test_answers_of_any_tokenizer(family, mode, folders) -> None:
    """Two separators, token types, a classification token at the end, spaces that are tokens."""
    folder = folders[family]
    tokenizer = PairTokenizer.load(str(folder.path.parent))
    windows = FeatureWindows(folder, tokenizer, ExtractOptions(inputs=("features",), output="-"))
    cutting = dataclasses.replace(
        extractor(tokenizer, mode=mode, top_k=3),
        size=windows.size,
        max_windows=2 if mode == "native" else "all",
    )
    reading = dataclasses.replace(cutting, stored=windows)
    columns = parse_columns((), (), documents=False)
    shards = list(cut_shards(StoredExamples(folder, columns).examples(), ShardLimits(rows=16, context_bytes=1 << 20)))
    assert len(shards) > 4
    for shard in shards:
        ours, theirs = (one.answer(one.prepare(shard)) for one in (reading, cutting))
        assert ours.table.equals(theirs.table)
        assert ours.counts | {"truncated_questions": 0} == theirs.counts | {"truncated_questions": 0}


def test_one_part_is_in_memory_at_a_time(folders, monkeypatch) -> None:
    folder = FeaturesFolder(folders["wordpiece"].path)
    assert folder.parts > 10
    read = []
    plain = reader._stored_windows

    def counted(path):
        assert folder._held is None
        read.append(path.name)
        return plain(path)

    monkeypatch.setattr(reader, "_stored_windows", counted)
    for first in range(0, len(folder), 5):
        rows = np.arange(first, min(first + 5, len(folder)))
        assert set(folder.windows(rows).row.tolist()) <= set(rows.tolist())
    assert read == [folder.features(part).name for part in range(folder.parts)]


def test_rows_of_no_windows(folders) -> None:
    folder = folders["unigram"]
    assert len(folder.windows(np.empty(0, dtype=np.int64))) == 0
    assert len(folder.windows(np.array([3]))) == 0
    assert isinstance(folder.manifest, Manifest)
