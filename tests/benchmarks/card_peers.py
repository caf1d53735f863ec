"""What others do with the same questions on the same card: the transformers pipeline, the notebooks' training loop.

Where transformers 4.57 is not installed, the pipeline's loop is written from its documented behaviour: a tokenizer
call an example (384 tokens, overlap 128), batches of windows padded to their longest, start and end probabilities
over the context, and the best span by their product, in numpy, an example at a time.
"""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

LONGEST_ANSWER = 15
"""The pipeline's default, in tokens."""

Row = dict[str, Any]


def pipeline_is_there() -> bool:
    """Whether the pipeline is that of transformers 4.57."""
    return version("transformers").startswith("4.57.")


def pipeline(model: Path, device: torch.device, dtype: torch.dtype) -> Callable[[Sequence[Row], int], None]:
    """Return what answers rows in batches of a size: the pipeline, else its loop."""
    if not pipeline_is_there():
        return _Loop(model, device, dtype)
    from transformers import pipeline as make

    reader = make("question-answering", model=str(model), torch_dtype=dtype, device=device)

    def answer(rows: Sequence[Row], batch_size: int) -> None:
        reader([{"question": row["question"], "context": row["context"]} for row in rows], batch_size=batch_size)

    return answer


class _Loop:
    """The pipeline's work, without the pipeline."""

    def __init__(self, model: Path, device: torch.device, dtype: torch.dtype) -> None:
        from transformers import AutoModelForQuestionAnswering, AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(model)
        self._model = AutoModelForQuestionAnswering.from_pretrained(model, dtype=dtype).to(device).eval()
        self._device = device

    def __call__(self, rows: Sequence[Row], batch_size: int) -> None:
        waiting: list[tuple[int, Any, int]] = []
        best: dict[int, tuple[float, str]] = {}
        for number, row in enumerate(rows):
            encoded = self._tokenizer(
                row["question"],
                row["context"],
                truncation="only_second",
                max_length=384,
                stride=128,
                return_overflowing_tokens=True,
                return_offsets_mapping=True,
            )
            waiting += [(number, encoded, window) for window in range(len(encoded["input_ids"]))]
            while len(waiting) >= batch_size:
                self._read(rows, waiting[:batch_size], best)
                del waiting[:batch_size]
        if waiting:
            self._read(rows, waiting, best)

    def _read(
        self, rows: Sequence[Row], batch: list[tuple[int, Any, int]], best: dict[int, tuple[float, str]]
    ) -> None:
        names = [name for name in ("input_ids", "token_type_ids", "attention_mask") if name in batch[0][1]]
        features = [{name: encoded[name][window] for name in names} for _, encoded, window in batch]
        inputs = self._tokenizer.pad(features, return_tensors="pt").to(self._device)
        with torch.inference_mode():
            output = self._model(**inputs)
        starts, ends = (logits.float().cpu().numpy() for logits in (output.start_logits, output.end_logits))
        for (number, encoded, window), start, end in zip(batch, starts, ends, strict=True):
            inside = np.array([part == 1 for part in encoded.sequence_ids(window)])
            width = len(inside)
            probabilities = [_softmax(np.where(inside, values[:width], -1e4)) for values in (start, end)]
            products = np.tril(np.triu(np.outer(*probabilities)), LONGEST_ANSWER - 1)
            first, last = divmod(int(products.argmax()), width)
            offsets = encoded["offset_mapping"][window]
            text = rows[number]["context"][offsets[first][0] : offsets[last][1]]
            score = float(products[first, last])
            if number not in best or score > best[number][0]:
                best[number] = score, text


def _softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max())
    return powers / powers.sum()


def notebook_training(
    model: Path, rows: Sequence[Row], *, device: torch.device, batch_size: int, steps: int, width: int = 400
) -> dict[str, float]:
    """Train as the usual notebook does; return windows and steps a second, the first tenth of the steps left out.

    Every window padded to 400 tokens, ``default_data_collator``, AdamW, clipping, a linear schedule, fp16 with a
    scaler on a card (bf16 on a CPU), the loss read at every step.
    """
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer, get_linear_schedule_with_warmup

    tokenizer = AutoTokenizer.from_pretrained(model)
    batches = _padded(tokenizer, rows, batch_size, width)
    trained = AutoModelForQuestionAnswering.from_pretrained(model, dtype=torch.float32).to(device).train()
    optimizer = torch.optim.AdamW(trained.parameters(), lr=3e-5)
    schedule = get_linear_schedule_with_warmup(optimizer, 0, steps)
    on_card = device.type == "cuda"
    scaler = torch.amp.GradScaler(device.type, enabled=on_card)
    began, warm = 0.0, steps // 10
    for step in range(steps):
        if step == warm:
            began = time.perf_counter()
        batch = {name: value.to(device) for name, value in next(batches).items()}
        with torch.autocast(device.type, torch.float16 if on_card else torch.bfloat16):
            loss = trained(**batch).loss
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        schedule.step()
        optimizer.zero_grad()
        loss.item()
    seconds = time.perf_counter() - began
    return {
        "steps_per_second": (steps - warm) / seconds,
        "windows_per_second": (steps - warm) * batch_size / seconds,
    }


def _padded(tokenizer: Any, rows: Sequence[Row], batch_size: int, width: int) -> Iterator[dict[str, torch.Tensor]]:
    """Yield batches of windows without end, as the notebook's loader does."""
    from transformers import default_data_collator

    encoded = tokenizer(
        [row["question"] for row in rows],
        [row["context"] for row in rows],
        truncation="only_second",
        max_length=width,
        stride=min(100, width // 4),
        return_overflowing_tokens=True,
        padding="max_length",
    )
    names = [name for name in ("input_ids", "token_type_ids", "attention_mask") if name in encoded]
    features = [
        {**{name: encoded[name][i] for name in names}, "start_positions": 20, "end_positions": 22}
        for i in range(len(encoded["input_ids"]))
    ]
    loader = torch.utils.data.DataLoader(
        features, batch_size=batch_size, shuffle=True, collate_fn=default_data_collator, drop_last=True
    )
    while True:
        yield from loader
