"""Changes made inside a process under test: delays to be hit by a signal, counts, faults."""

from __future__ import annotations

import os
import time
from pathlib import Path


def slow() -> None:
    """Let every shard take ``SLOW`` seconds longer."""
    from qatool.extraction.answering.answerer import Answerer

    plain = Answerer.finish

    def finish(self, begun, tick):
        end = time.monotonic() + float(os.environ["SLOW"])
        while time.monotonic() < end:
            tick(0)
            time.sleep(0.002)
        return plain(self, begun, tick)

    Answerer.finish = finish


def small_parts() -> None:
    """Let each shard be a part of its own in a folder of answers."""
    from qatool.files.output import answers

    answers.GROUP_ROWS = 1


def hold() -> None:
    """Wait when ``HOLD`` shards are answered and another is in hand, until the test says so; hear signals."""
    from qatool.extraction.answering.answerer import Answerer

    plain, others = Answerer.finish, []

    def finish(self, begun, tick):
        if len(others) == int(os.environ["HOLD"]):
            _wait_to_go_on(lambda: tick(0))
        others.append(begun)
        return plain(self, begun, tick)

    Answerer.finish = finish


def _wait_to_go_on(meanwhile=lambda: None) -> None:
    name = os.environ["RUN_NAME"]
    Path(f"{name}.held").touch()
    while not Path(f"{name}.go").exists():
        meanwhile()
        time.sleep(0.002)


def count() -> None:
    """Append the shard to the file ``COUNT`` whenever the model begins one; go a little slower."""
    from qatool.extraction.answering.answerer import Answerer

    plain = Answerer.finish

    def finish(self, begun, tick):
        with Path(os.environ["COUNT"]).open("a") as stream:
            stream.write(f"{begun.prepared.shard.index}\n")
        time.sleep(float(os.environ.get("SLOW", "0")))
        return plain(self, begun, tick)

    Answerer.finish = finish


def time_commits() -> None:
    """Write to the file ``COSTS`` what a shard costs in ms, and what two synced files of its sizes cost, in turns."""
    from qatool.jobs.runfolder.parts import Parts

    plain = Parts.commit

    def plainly_written(path: Path) -> None:
        begun = path.with_name(".plain.tmp")
        with begun.open("wb") as stream:
            stream.write(path.read_bytes())
            stream.flush()
            os.fsync(stream.fileno())
        begun.replace(path.with_name("plain"))

    def commit(self, unit, part, **more):
        times = [time.perf_counter()]
        plain(self, unit, part, **more)
        times.append(time.perf_counter())
        plainly_written(self.part(unit.index))
        plainly_written(self.marker(unit.index))
        times.append(time.perf_counter())
        for folder in (self.parts, self.done):
            (folder / "plain").unlink()
        with Path(os.environ["COSTS"]).open("a") as stream:
            stream.write(f"{1000 * (times[1] - times[0])} {1000 * (times[2] - times[1])}\n")

    Parts.commit = commit


def pause_before_marker() -> None:
    """Stop the process by itself (SIGSTOP) when the second marker is about to take its name."""
    import signal

    from qatool.jobs.runfolder.parts import Parts

    plain = Parts._mark

    def mark(self, unit, part, **more):
        if unit.index == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        return plain(self, unit, part, **more)

    Parts._mark = mark


def pause_before_part() -> None:
    """Stop the process by itself (SIGSTOP) when it has answered the second shard and is to write its part."""
    import signal

    from qatool.jobs.runfolder.parts import Parts

    plain = Parts.commit

    def commit(self, unit, part, **more):
        if unit.index == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        return plain(self, unit, part, **more)

    Parts.commit = commit


def no_flock() -> None:
    """Be on a file system that knows no ``flock``."""
    import errno
    import fcntl

    def flock(_file, _how):
        raise OSError(errno.ENOTSUP, "not supported")

    fcntl.flock = flock


def no_flock_and_pause_before_part() -> None:
    no_flock()
    pause_before_part()


def pause_before_final_rename() -> None:
    """Stop the process by itself (SIGSTOP) when the output is written and is to take its name."""
    import signal

    from qatool.files.storage.atomic import AtomicFile

    plain = AtomicFile.commit

    def commit(self):
        if self.path.name == "answers.parquet":
            os.kill(os.getpid(), signal.SIGSTOP)
        return plain(self)

    AtomicFile.commit = commit


def no_flock_and_pause_before_final_rename() -> None:
    no_flock()
    pause_before_final_rename()


def slow_model_load() -> None:
    """Take long to load the model, in code that catches every ordinary exception."""
    from qatool.windows.tokenizer import PairTokenizer

    def load(model, **_):
        Path("loading").touch()
        try:
            time.sleep(30)
        except Exception as error:
            raise RuntimeError from error

    PairTokenizer.load = load


def slow_tokenizer() -> None:
    """Take long to tokenise the third shard, as with a huge document."""
    from qatool.extraction.answering.extractor import Extractor

    plain = Extractor.prepare

    def prepare(self, shard, previous=None):
        if shard.index == 2:
            Path("tokenising").touch()
            time.sleep(30)
        return plain(self, shard, previous)

    Extractor.prepare = prepare


def slow_assembly() -> None:
    """Take long to write the output."""
    from qatool.jobs.runfolder.parts import Parts

    plain = Parts.tables

    def tables(self, count, schema):
        for table in plain(self, count, schema):
            Path("assembling").touch()
            time.sleep(0.3)
            yield table

    Parts.tables = tables


def killed_between_output_and_clean_up() -> None:
    """Die when the output has its name and the run folder still stands."""
    from qatool.extraction.runs import run

    run.ExtractionRun._sum_up = lambda *_args, **_more: os._exit(99)


def deaf() -> None:
    """Never come to a point where signals are asked for."""
    from qatool.extraction.answering.answerer import Answerer

    def finish(self, begun, tick):
        Path("working").touch()
        time.sleep(60)

    Answerer.finish = finish


def failing_model() -> None:
    """Give scores that are no numbers for windows with the word of id ``NAN``, and run out of memory at ``OOM``."""
    import torch

    from qatool.models.backend import BatchTooLargeError
    from qatool.models.constant import ConstantBackend

    def logits(self, batch):
        ids = torch.as_tensor(batch.input_ids)
        if (ids == int(os.environ.get("OOM", "-1"))).any():
            raise BatchTooLargeError
        zeros = torch.zeros(ids.shape)
        zeros[(ids == int(os.environ.get("NAN", "-1"))).any(1)] = float("nan")
        return zeros, zeros

    ConstantBackend.logits = logits


def hold_and_ignore_interrupts() -> None:
    """Be in the background of a shell script."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hold()


def no_flock_and_hold() -> None:
    no_flock()
    hold()


def no_flock_and_hold_assembly() -> None:
    """Wait when all shards are done and the output is to be written."""
    from qatool.jobs.runfolder.parts import Parts

    no_flock()
    plain = Parts.tables

    def tables(self, count, schema):
        _wait_to_go_on()
        yield from plain(self, count, schema)

    Parts.tables = tables


def full_disk() -> None:
    """Have no room for the marker of the third shard."""
    import errno

    from qatool.files.storage import atomic

    plain = os.fsync

    def fsync(descriptor):
        name = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if "part-00002.json" in name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return plain(descriptor)

    atomic.os.fsync = fsync


def troubled_workers() -> None:
    """Let workers in other processes do what files in the folder say; see ``troubles``."""
    from troubles import TroubledMaker

    from qatool.extraction.engines import engine

    engine.AnswererFactory = TroubledMaker


def card_workers() -> None:
    """Let each worker of ``--devices`` be given its batches as a card is, with processes beside it."""
    from troubles import CardMaker

    from qatool.extraction.engines import engine

    engine.AnswererFactory = CardMaker


def no_ray() -> None:
    """Be where the extra is not installed."""
    import sys

    sys.modules["ray"] = None


def staged() -> None:
    """Let the backend without a model be given its batches as a card is; reading a shard takes ``SLOW`` seconds.

    The file ``workers`` names the processes beside it.
    """
    import multiprocessing

    import torch

    from qatool.extraction.answering.cardreader import CardReader
    from qatool.models.constant import ConstantBackend
    from qatool.models.pytorch.lanes import HostLane

    def packed_logits(self, batch):
        zeros = torch.zeros(len(batch), batch.longest)
        return zeros, zeros

    ConstantBackend.lane, ConstantBackend.packs, ConstantBackend.fitting_tokens = HostLane(), True, 1 << 62
    ConstantBackend.packed_logits, ConstantBackend.wider = packed_logits, lambda self: None
    plain = CardReader.launch

    def launch(self, shard):
        fresh = Path(f"workers.{os.getpid()}")
        fresh.write_text(" ".join(str(process.pid) for process in multiprocessing.active_children()))
        fresh.replace("workers")
        time.sleep(float(os.environ.get("SLOW", "0")))
        return plain(self, shard)

    CardReader.launch = launch


def early_output() -> None:
    """Write the output while parts are made, as where a card reads; note in ``early`` when it was of use."""
    from qatool.extraction.runs import run
    from qatool.extraction.runs.earlyoutput import EarlyOutput

    plain = EarlyOutput.take

    def take(self, count, **more):
        writer = plain(self, count, **more)
        Path("early").write_text("given up" if writer is None else "taken")
        return writer

    EarlyOutput.take = take
    run._has_a_card = lambda _setup: True


def early_output_and_count() -> None:
    early_output()
    count()


def early_output_and_hold() -> None:
    early_output()
    hold()


def early_output_of_a_damaged_part() -> None:
    """Damage a part before it is read back."""
    from jobs_tools import flip_byte

    from qatool.jobs.runfolder.parts import Parts

    early_output()
    plain = Parts.table

    def table(self, index):
        if index == 3:
            flip_byte(self.part(index))
        return plain(self, index)

    Parts.table = table


def early_output_with_little_room() -> None:
    from qatool.extraction.runs import earlyoutput

    early_output()
    earlyoutput.ROOM_BYTES = 1 << 60


def early_output_on_a_full_disk() -> None:
    """Have no room for the output, but for the parts."""
    import errno

    from qatool.files.output import answers

    early_output()
    answers.GROUP_ROWS = 40

    def write(self, _table):
        with answers.reporting(self._file.path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    answers._ParquetSink.write = write
