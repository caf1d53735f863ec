"""``qatool doctor``: check the installation, load the model offline, and measure how fast this machine reads."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

import qatool
from qatool.commands.sample import sample_corpus
from qatool.errors import EnvironmentUnfitError, QatoolError
from qatool.extraction.answering.shards import ShardLimits, cut_shards
from qatool.jobs.workers.processes import usable_cores
from qatool.models.arithmetic import matmul_rate, window_flops
from qatool.models.companions import load_config
from qatool.models.named import model_name
from qatool.models.openvino.library import is_installed
from qatool.observers import SilentObserver
from qatool.options import ExtractOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import Tensor

    from qatool.extraction.answering.extractor import PreparedShard
    from qatool.extraction.answering.setup import Setup
    from qatool.models.backend import Backend
    from qatool.models.pytorch.packed import PackedBatch
    from qatool.observers import Observer
    from qatool.options import DoctorOptions
    from qatool.windows.assemble import WindowBatch

_NEEDED = (
    "torch", "transformers", "tokenizers", "safetensors", "numpy", "pyarrow", "fsspec", "ijson", "zstandard", "click",
    "rich",
)  # fmt: skip
_EXTRAS = {
    "openvino": ("openvino", "faster extraction on a CPU"),
    "nncf": ("openvino", "export --int8"),
    "lightning": ("train", "finetune"),
    "datasets": ("train", "finetune"),
    "matplotlib": ("report", "report, and finetune's curve"),
    "ray": ("ray", "extract --engine ray"),
    "s3fs": ("s3", "s3:// URIs"),
}
"""For each optional library, the extra that installs it, and its use."""
_UNADVISED = {"datasets", "ray", "s3fs"}
"""Libraries whose installation is not advised: they come with another, or need a cluster or a store."""
_SECONDS = 5.0
"""How long each combination of backend and precision is measured, in seconds."""
_MOST_EXAMPLES = 4_096


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """The findings about this machine."""

    told: Mapping[str, Any]
    """``versions``, ``extras``, ``devices``, ``model``, ``speed`` (``None`` if not measured) and ``advice``."""
    problem: str | None
    """Why extraction would not work, ``None`` if it would."""


def run(options: DoctorOptions, *, observer: Observer | None = None) -> Diagnosis:
    """Check everything that an extraction needs; problems are returned, not raised.

    Whether the model loads without a network is checked only if ``HF_HUB_OFFLINE`` is set before transformers is
    imported, as the command line does.

    :param observer: progress display
    """
    observer = observer or SilentObserver()
    told: dict[str, Any] = {"versions": _about_this(), "extras": _versions(_EXTRAS), "devices": _devices()}
    problem = None
    try:
        observer.message("loading the model")
        setup, seconds = _loaded(options, backend="auto", precision="auto")
        told["model"] = _about(setup, model_name(options.model), seconds)
        told["speed"] = _speed(options, setup, observer) if options.speed else None
    except QatoolError as error:
        problem = str(error)
        told |= {"model": {"error": problem}, "speed": None}
    told["advice"] = _advice(told)
    return Diagnosis(told=told, problem=problem)


def _about_this() -> dict[str, str | None]:
    return {
        "qatool": qatool.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        **_versions(_NEEDED),
    }


def _versions(libraries: Iterable[str]) -> dict[str, str | None]:
    """Return the version of each library, ``None`` if it is absent."""
    found: dict[str, str | None] = {}
    for name in libraries:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _devices() -> dict[str, Any]:
    import torch

    from qatool.models.pytorch.torch_backend import cpu_has_bf16

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if sys.platform != "win32" else None
    cards = []
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        cards.append({"name": about.name, "memory": about.total_memory})
    return {
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "memory": memory,
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "bf16": cpu_has_bf16(),
        "cuda": cards,
    }


def _loaded(options: DoctorOptions, *, backend: str, precision: str) -> tuple[Setup, float]:
    """Return everything that an extraction needs, and the seconds that loading took."""
    from qatool.extraction.answering.setup import load_setup

    began = time.perf_counter()
    asked: Any = {"backend": backend, "precision": precision}
    setup = load_setup(
        ExtractOptions(inputs=("-",), output="-", model=options.model, device=options.device, **asked),
    )
    return setup, time.perf_counter() - began


def _about(setup: Setup, name: str, seconds: float) -> dict[str, Any]:
    extractor = setup.extractor
    return {
        "name": name,
        "fingerprint": setup.resolved.identity.model,
        "backend": extractor.backend.name,
        "device": extractor.backend.device,
        "precision": extractor.backend.precision,
        "max_length": extractor.size.max_length,
        "always_answers": extractor.decision.always_answer,
        "load_seconds": round(seconds, 2),
    }


class _TimedBackend:
    """Passes batches on to a backend, and sums the seconds that they take."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lock = threading.Lock()
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def logits(self, batch: WindowBatch) -> tuple[Tensor, Tensor]:
        began = time.perf_counter()
        found = self._backend.logits(batch)
        if found[0].is_cuda:
            found[0].cpu()
        with self._lock:
            self.seconds += time.perf_counter() - began
        return found

    def packed_logits(self, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        device: Any = self._backend
        began = time.perf_counter()
        found: tuple[Tensor, Tensor] = device.packed_logits(batch)
        found[0].cpu()
        self.seconds += time.perf_counter() - began
        return found


def _speed(options: DoctorOptions, setup: Setup, observer: Observer) -> dict[str, Any]:
    """Measure the machine's arithmetic, and speed and stages of every way to run the model on it."""
    import torch

    from qatool.models.pytorch.torch_backend import cpu_has_bf16

    on_cpu = setup.extractor.backend.device == "cpu"
    device = torch.device(setup.extractor.backend.device)
    threads = torch.get_num_threads() if on_cpu else 1
    kinds = {"fp32": torch.float32}
    if not on_cpu or cpu_has_bf16():
        kinds["bf16"] = torch.bfloat16
    observer.message("multiplying matrices")
    rates = {name: matmul_rate(device, kind, threads=threads) for name, kind in kinds.items()}
    config = load_config(model_name(options.model))
    ways: list[dict[str, Any]] = []
    for backend, precision in _ways(setup, list(kinds)):
        observer.message(f"reading with {backend}, {precision}")
        try:
            other, seconds = _loaded(options, backend=backend, precision=precision)
        except EnvironmentUnfitError as error:
            ways.append({"backend": backend, "precision": precision, "error": str(error)})
            continue
        found = _read(other)
        flops = [window_flops(config, length) for length in found["lengths"]]
        rate = sum(flops) / found["seconds"] if None not in flops else None  # type: ignore[arg-type]
        peak = rates.get(precision)
        ways.append(
            {
                "backend": backend,
                "precision": precision,
                "load_seconds": round(seconds, 2),
                "windows_per_second": round(len(flops) / found["seconds"], 1),
                "gigaflops": None if rate is None else round(rate / 1e9, 1),
                "share_of_matmul": None if rate is None or peak is None else round(rate / peak, 3),
                "stages_milliseconds_a_window": found["stages"],
            }
        )
    return {"matmul_gigaflops": {name: round(rate / 1e9, 1) for name, rate in rates.items()}, "ways": ways}


def _ways(setup: Setup, precisions: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of backend and precision worth measuring, beginning with the choice of ``auto``."""
    chosen = setup.extractor.backend
    if chosen.precision == "int8":
        return [(chosen.name, "int8")]
    backends = [chosen.name]
    if chosen.device == "cpu" and is_installed():
        backends += [name for name in ("openvino", "torch") if name != chosen.name]
    first = [chosen.precision, *(name for name in precisions if name != chosen.precision)]
    return [(backend, precision) for backend in backends for precision in first]


def _read(setup: Setup) -> dict[str, Any]:
    """Answer sample questions for some seconds, and return window lengths and the time for each stage."""
    backend: Any = _TimedBackend(setup.extractor.backend)
    extractor = replace(setup.extractor, backend=backend)
    examples = sample_corpus(_MOST_EXAMPLES)
    limits = ShardLimits(rows=64 if backend.device == "cpu" else 1_024, context_bytes=1 << 24)
    lengths: list[int] = []
    stages = dict.fromkeys(("tokenise", "model", "decode", "write"), 0.0)
    with tempfile.TemporaryDirectory(prefix="qatool-") as folder:
        for number, shard in enumerate(cut_shards(examples, limits)):
            began = time.perf_counter()
            prepared: PreparedShard = extractor.prepare(shard)
            cut = time.perf_counter()
            backend.seconds = 0.0
            part = extractor.answer(prepared)
            answered = time.perf_counter()
            pq.write_table(part.table, Path(folder) / "part.parquet")
            written = time.perf_counter()
            if number == 0:
                continue  # the first batches of each shape are slow
            model = min(backend.seconds / backend.streams, answered - cut)
            for name, spent in zip(
                stages, (cut - began, model, answered - cut - model, written - answered), strict=True
            ):
                stages[name] += spent
            lengths += prepared.examples.lengths.tolist()
            if sum(stages.values()) > _SECONDS:
                break
    # In a run, tokenising and writing happen while the model reads.
    seconds = max(stages["model"] + stages["decode"], stages["tokenise"])
    told = {name: round(1_000 * spent / len(lengths), 3) for name, spent in stages.items()}
    return {"lengths": lengths, "seconds": seconds, "stages": told}


def _advice(told: Mapping[str, Any]) -> list[str]:
    """Return advice on what would make extraction faster on this machine, or more commands possible."""
    advice = [
        f"{use}: pip install 'qatool[{extra}]'"
        for name, (extra, use) in _EXTRAS.items()
        if told["extras"][name] is None and name not in _UNADVISED
    ]
    devices, speed = told["devices"], told["speed"]
    if devices["threads"] < devices["cores"] and not devices["cuda"]:
        advice.append(
            f"{devices['threads']} of {devices['cores']} cores are used: unset or raise OMP_NUM_THREADS, or give "
            "--workers"
        )
    ways = [] if speed is None else [way for way in speed["ways"] if "error" not in way]
    if ways:
        fastest = max(ways, key=lambda way: float(way["windows_per_second"]))
        if fastest is not ways[0] and fastest["windows_per_second"] > 1.1 * ways[0]["windows_per_second"]:
            gain = fastest["windows_per_second"] / ways[0]["windows_per_second"]
            advice.append(
                f"{gain:.1f} times as fast: --backend {fastest['backend']} --precision {fastest['precision']} ("
                "scores differ in the third digit)"
            )
    return advice
