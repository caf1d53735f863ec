"""Write the folder of a trained model: the files that transformers loads, qatool's settings, and a model card."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import qatool
from qatool.files.storage.atomic import write_bytes
from qatool.files.storage.writefailures import reporting
from qatool.models.companions import save_tokenizer
from qatool.models.settings import SETTINGS_FILE, files_of
from qatool.training.curve import curve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from qatool.training.callbacks import Entry, Record
    from qatool.windows.cut import WindowSize


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The facts of a finished training, for the model card; files are given by name, without paths."""

    base: str
    size: WindowSize
    options: Mapping[str, Any]
    """The resolved value of each option that the user can set."""
    data: Sequence[tuple[str, float, Mapping[str, int]]]
    """The name, the weight, and the counts of the audit of each training input."""
    validation: str | None
    steps: int
    device: str
    precision: str
    best: Entry | None
    """The validation of the weights that were kept, ``None`` where these were not validated."""
    knew_no_answer: bool = False
    """Whether the model that the training started from had learnt from unanswerable questions."""

    @property
    def knows_no_answer(self) -> bool:
        """Whether the model has learnt from unanswerable questions, in this training or before."""
        return self.knew_no_answer or any(counts["unanswerable"] for _, _, counts in self.data)


def save_model(
    folder: Path,
    model: Any,
    *,
    tokenizer: str,
    trust_remote_code: bool,
    record: Record,
    trained: Trained,
    half: bool,
) -> None:
    """Write the model into a new folder, ``qatool.json`` last.

    :param tokenizer: folder or hub id of the tokenizer
    :param trust_remote_code: whether the tokenizer may run code of its own, as when it was loaded for training
    :param record: the figures of the training
    :param trained: the facts for the model card
    :param half: whether to write the weights in half precision
    :raises OutputError: a file cannot be written
    """
    with reporting(folder):
        (model.half() if half else model).save_pretrained(folder)
        # safetensors makes files that only the owner can read, whatever the umask.
        for weights in folder.glob("*.safetensors"):
            weights.chmod((folder / "config.json").stat().st_mode)
        save_tokenizer(tokenizer, folder, trust_remote_code=trust_remote_code)
    record.write(folder / "metrics.csv")
    write_bytes(folder / "curve.svg", curve(record.entries).encode())
    write_bytes(folder / "README.md", card(trained).encode())
    settings = {
        "qatool": qatool.__version__,
        "max_length": trained.size.max_length,
        "stride": trained.size.stride,
        "knows_no_answer": trained.knows_no_answer,
        "files": files_of(folder),
    }
    write_bytes(folder / SETTINGS_FILE, (json.dumps(settings, indent=2) + "\n").encode())


def card(trained: Trained) -> str:
    """Return the model card, in Markdown with the front matter that the Hugging Face hub reads."""
    rows = [
        f"| {_cell(name)} | {weight:g} | {counts['answerable']:,} | {counts['unanswerable']:,} | "
        f"{counts['windows']:,} |"
        for name, weight, counts in trained.data
    ]
    options = [f"| `{name}` | {_cell(str(value))} |" for name, value in trained.options.items()]
    return _CARD.format(
        base=trained.base,
        version=qatool.__version__,
        otherwise=", or at the first token where there is none" if trained.knows_no_answer else "",
        settings=SETTINGS_FILE,
        max_length=trained.size.max_length,
        stride=trained.size.stride,
        data="\n".join(rows),
        steps=f"{trained.steps:,}",
        device=trained.device,
        precision=trained.precision,
        options="\n".join(options),
        validation=_validation(trained),
    )


_CARD = """\
---
library_name: transformers
pipeline_tag: question-answering
tags: [extractive-question-answering, qatool]
---

# Extractive question answering

Fine-tuned from `{base}` by `qatool finetune` {version}. Given a question and a context, the model points at the span
of the context that answers it{otherwise}.

## Use

```bash
qatool extract questions.jsonl -o answers.parquet --model THIS_FOLDER
```

It is a plain transformers model: `AutoModelForQuestionAnswering.from_pretrained(THIS_FOLDER)`. `{settings}` holds
the windows it was trained on ({max_length} tokens, {stride} shared by neighbours) and how to decode.

## Training data

| file | weight | answerable | unanswerable | windows |
| --- | --- | --- | --- | --- |
{data}

## Training

{steps} steps on {device}, {precision}.

| option | value |
| --- | --- |
{options}

## Validation

{validation}

![Loss, learning rate, EM and F1 over the steps](curve.svg)
"""


def _validation(trained: Trained) -> str:
    best, is_mean = trained.best, "average" in trained.options
    if best is None:
        moving = trained.options.get("moving_average") is not None
        own = "the moving average over all steps" if moving else "those of the last step"
        return f"Not validated; the weights are {f'the mean of the others and {own}' if is_mean else own}."
    when = "the mean with the other weights" if is_mean else f"after {best.step:,} steps"
    return (
        f"On {_cell(trained.validation or '')}, {when}, decoded as `qatool extract` does;\n"
        "questions without an answer are decided at the threshold of the best F1.\n\n"
        f"| EM | F1 |\n| --- | --- |\n| {best.exact_match:.2f} | {best.f1:.2f} |"
    )


def _cell(text: str) -> str:
    """Return text as the content of one cell of a Markdown table, escaped as needed."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
