"""Make the texts that the model which comes with qatool learnt from besides those of people.

    python tests/benchmarks/training_texts DATA -o FOLDER

DATA is a folder with SQuAD 1.1 and 2.0, SQuADShifts and TyDi QA as nested SQuAD files. FOLDER receives, in order:

- ``altered-*.json``: for each file, questions that their context does not answer (``altered.py``)
- ``short.jsonl``: questions with little more than the sentence of their answer (``short.py``)
- ``words.jsonl``: these with another question word, unanswerable (``words.py``)
- ``stories.jsonl``: stories of one sentence, and what they tell and do not tell (``stories.py``)

The same data make the same bytes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import short
from altered import altered_files
from common import Example, write_articles, write_examples
from stories import story_examples
from words import with_other_words


def main() -> None:
    """Make all files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA", help="folder with the nested SQuAD files")
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER", required=True, help="folder for what is made")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for name, articles in altered_files(options.data):
        write_articles(articles, _altered(options.output, name))
        questions = sum(len(paragraph["qas"]) for article in articles for paragraph in article["paragraphs"])
        print(f"{_altered(options.output, name)}: {questions} questions", flush=True)
    sources = [(options.data / name, share) for name, share in short.SHARES.items()]
    sources += [(_altered(options.output, name), share) for name, share in short.ALTERED_SHARES.items()]
    shortened = list(short.short_examples(sources))
    _write(shortened, options.output / "short.jsonl", prefix="s")
    _write(list(with_other_words(shortened)), options.output / "words.jsonl", prefix="w")
    _write(list(story_examples()), options.output / "stories.jsonl", prefix="t")


def _altered(folder: Path, name: str) -> Path:
    return folder / f"altered-{name}"


def _write(examples: list[Example], path: Path, *, prefix: str) -> None:
    write_examples(examples, path, prefix=prefix)
    print(f"{path}: {len(examples)} questions", flush=True)


if __name__ == "__main__":
    main()
