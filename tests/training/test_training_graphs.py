"""Steps as graphs: recorded once for each shape, replayed on the same memory, and what cannot be is run as it is."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader
from traininghelpers import RECIPE, batch_of, tiny_bert

from qatool.training import graphs
from qatool.training.graphs import StepGraphs
from qatool.training.module import NotFiniteError, QuestionAnsweringModule


def module_of() -> QuestionAnsweringModule:
    return QuestionAnsweringModule(tiny_bert(), RECIPE, None).eval()


class FakeGraph:
    """Stands in for a CUDA graph: replaying it calls what was recorded again, on the memory it was recorded with."""

    recording: FakeGraph | None = None

    def __init__(self) -> None:
        self.replays = 0
        self.work = None

    def pool(self) -> tuple[int, int]:
        return (0, 0)

    def replay(self) -> None:
        self.replays += 1
        self.work()


@pytest.fixture
def fake_graphs(monkeypatch) -> list[FakeGraph]:
    """Let a CPU record graphs: what is called while one is recorded is not done."""
    made: list[FakeGraph] = []

    @contextmanager
    def record(graph, *, pool, capture_error_mode):
        assert capture_error_mode == "thread_local"
        made.append(graph)
        FakeGraph.recording = graph
        yield
        FakeGraph.recording = None

    on_a_card(monkeypatch, record)
    return made


def on_a_card(monkeypatch, record, questions=()) -> list[str]:
    """Let the CPU stand in for a card that records graphs, and that is asked for ``questions``.

    :returns: the reasons that are logged
    """
    reasons: list[str] = []

    @contextmanager
    def asked():
        yield list(questions)

    monkeypatch.setattr(graphs, "recorded_syncs", asked)
    monkeypatch.setattr(graphs.torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(graphs.torch.cuda, "graph", record)
    monkeypatch.setattr(graphs.torch.cuda, "current_stream", lambda: None)
    monkeypatch.setattr(graphs.torch.cuda, "set_stream", lambda _: None)
    monkeypatch.setattr(graphs, "log_event", lambda _, *, reason, **__: reasons.append(reason))
    return reasons


def test_a_graph_for_each_shape(fake_graphs) -> None:
    module = module_of()

    def backward(batch):
        recording, loss = FakeGraph.recording, torch.zeros(())

        def work() -> None:
            part = module._loss(batch)
            part.backward()
            loss.copy_(part.detach())

        if recording is None:
            work()
        else:
            recording.work = work
        return loss

    batches = [batch_of([[(1, place % 3 + 1)], [(2, 2)]], width=5 + place % 2) for place in range(9)]
    expected = [float(module._loss(batch).detach()) for batch in batches]
    steps = StepGraphs(backward)
    found = []
    for batch in batches:
        module.zero_grad(set_to_none=False)
        found.append(float(steps(batch)))
    assert found == pytest.approx(expected)
    assert [graph.replays for graph in fake_graphs] == [3, 3]
    last = torch.cat([value.grad.flatten() for value in module.model.parameters() if value.grad is not None])
    module.zero_grad()
    module._loss(batches[-1]).backward()
    again = torch.cat([value.grad.flatten() for value in module.model.parameters() if value.grad is not None])
    torch.testing.assert_close(last, again)


def test_what_cannot_be_recorded_is_run_as_it_is(monkeypatch) -> None:
    @contextmanager
    def refuse(*_, **__):
        yield
        raise RuntimeError("operation not permitted when stream is capturing")

    reasons = on_a_card(monkeypatch, refuse)
    module = module_of()
    batch = batch_of([[(1, 3)], [(2, 2)]])
    seen: list[float] = []

    def backward(batch):
        seen.append(batch.windows)
        loss = module._loss(batch)
        loss.backward()
        return loss.detach()

    steps = StepGraphs(backward)
    with torch.autocast("cpu", torch.bfloat16):
        losses = [float(steps(batch)) for _ in range(6)]
    # The very first, the first of its shape, one that was to be recorded and then done, and three after.
    assert len(seen) == 7
    assert losses == pytest.approx([losses[0]] * 6)
    assert reasons == ["operation not permitted when stream is capturing"]


def test_a_model_that_asks_the_card_is_not_recorded(monkeypatch) -> None:
    reasons = on_a_card(monkeypatch, None, ["called a synchronizing CUDA operation"])
    seen: list[int] = []
    steps = StepGraphs(lambda batch: seen.append(batch.windows) or torch.zeros(()))
    for _ in range(6):
        steps(batch_of([[(1, 3)], [(2, 2)]]))
    assert len(seen) == 6
    assert reasons == ["called a synchronizing CUDA operation"]


def notice_of_a_prototype(_mode: object, told: list[str]) -> None:
    """Warn once a process, as torch does of the mode itself."""
    if not told:
        told.append("told")
        text = (
            "Synchronization debug mode is a prototype feature and does not yet detect all synchronizing operations"
        )
        warnings.warn(text, UserWarning, stacklevel=2)


def test_torch_s_notice_on_looking_is_no_question(monkeypatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(graphs.torch.cuda, "get_sync_debug_mode", lambda: 0)
    monkeypatch.setattr(graphs.torch.cuda, "set_sync_debug_mode", lambda mode: notice_of_a_prototype(mode, told))
    with graphs.recorded_syncs() as questions:
        pass
    assert told
    assert questions == []
    with graphs.recorded_syncs() as questions:
        warnings.warn("called a synchronizing CUDA operation (Triggered internally)", UserWarning, stacklevel=2)
    assert questions == ["called a synchronizing CUDA operation (Triggered internally)"]


def test_a_graph_that_memory_does_not_suffice_for(monkeypatch) -> None:
    """Graphs hold memory of their own; what there was without them is given back, and the run goes on."""

    @contextmanager
    def full(*_, **__):
        yield
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    reasons = on_a_card(monkeypatch, full)
    steps = StepGraphs(lambda batch: torch.tensor(float(batch.windows)))
    steps._recorded[(1,)] = None
    losses = [float(steps(batch_of([[(1, 3)], [(2, 2)]]))) for _ in range(6)]
    assert losses == [2.0] * 6
    assert not steps._recorded
    assert reasons == ["CUDA out of memory. Tried to allocate 2.00 GiB"]


class GraphedModule(QuestionAnsweringModule):
    """Its steps are graphs on a CPU; says of each whether the weights changed."""

    def on_fit_start(self) -> None:
        self._graphs = StepGraphs(self._backward)
        self.changed: list[bool] = []

    def _backward(self, batch):
        recording = FakeGraph.recording
        if recording is None:
            return super()._backward(batch)
        loss = torch.zeros(())
        trained = [value for value in self.model.parameters() if value.grad is not None]
        # A graph writes where the gradients were when it was recorded.
        places = [value.grad for value in trained]

        def work() -> None:
            part = self._loss(batch)
            for place, value in zip(places, torch.autograd.grad(part, trained), strict=True):
                place.add_(value)
            loss.copy_(part.detach())

        recording.work = work
        return loss

    def training_step(self, batch, batch_idx):
        before = self.model.qa_outputs.weight.detach().clone()
        done = super().training_step(batch, batch_idx)
        self.changed.append(not torch.equal(before, self.model.qa_outputs.weight))
        return done


def test_graphs_go_on_after_a_validation(fake_graphs) -> None:
    """Lightning drops the gradients before one, if it may, and a graph would write to where they were."""
    module = GraphedModule(tiny_bert(), RECIPE, None)
    trainer = Trainer(
        accelerator="cpu", max_steps=9, val_check_interval=4, num_sanity_val_steps=0, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        steps = DataLoader([[batch_of([[(1, 3)], [(2, 2)]])]] * 9, batch_size=None)
        trainer.fit(module, steps, DataLoader([0], batch_size=None))
    assert [graph.replays for graph in fake_graphs] == [7]
    assert module.changed == [True] * 9


def test_a_scale_that_falls_for_good(monkeypatch) -> None:
    """In half precision a step that overflows is passed over; a run of them must not end as if all were well."""
    scale = 65_536.0
    module = module_of()
    scaler = SimpleNamespace(get_scale=lambda: scale)
    module._trainer = SimpleNamespace(precision_plugin=SimpleNamespace(scaler=scaler), global_step=30)
    monkeypatch.setattr(type(module), "global_step", 30)
    for value in module.parameters():
        value.grad = torch.full_like(value, float("inf"))
    module.on_before_optimizer_step(None)
    scale = 2.0**-11
    with pytest.raises(NotFiniteError, match="step 31: the gradient is not finite, however it is scaled"):
        module.on_before_optimizer_step(None)
