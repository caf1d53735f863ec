"""Workers of ``extract`` that die, wait or dawdle as files in a folder say; imported by them, wherever they are."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qatool.extraction.answering.answerer import Answerer
from qatool.extraction.engines.workers import AnswererFactory, CardWorker

if TYPE_CHECKING:
    from collections.abc import Callable


class TroubledAnswerer(Answerer):
    """``kill-3``: die with shard 3 as often as the file says; ``slow``: take so many seconds a shard."""

    def __init__(self, plain: Answerer, folder: Path) -> None:
        self.__dict__ |= plain.__dict__
        self._folder = folder

    def finish(self, begun: Any, tick: Callable[[int], None]) -> Any:
        index = begun.prepared.shard.index
        with (self._folder / "begun").open("a") as stream:
            stream.write(f"{index} {os.getpid()}\n")
        deaths = self._folder / f"kill-{index}"
        if deaths.exists() and (left := int(deaths.read_text())):
            deaths.write_text(str(left - 1))
            os.kill(os.getpid(), signal.SIGKILL)
        if (slow := self._folder / "slow").exists():
            time.sleep(float(slow.read_text()))
        return super().finish(begun, tick)


@dataclass(frozen=True, kw_only=True)
class TroubledMaker(AnswererFactory):
    folder: Path | None = None

    def __post_init__(self) -> None:
        # Made in the folder of the test, and called who knows where.
        object.__setattr__(self, "folder", self.folder or Path.cwd())

    def __call__(self, place: str) -> Answerer:
        assert self.folder is not None
        return TroubledAnswerer(super().__call__(place), self.folder)


class DeadlyAnswerer(Answerer):
    """``kill-actor-3``: whoever prepares shard 3 dies, as often as the file says."""

    def cut(self, task: Any) -> Any:
        deaths = Path(f"kill-actor-{task.shard.index}")
        if deaths.exists() and (left := int(deaths.read_text())):
            deaths.write_text(str(left - 1))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().cut(task)


class CardMaker(AnswererFactory):
    """Makes workers that read as those of a card do, and say in ``begun`` who they are."""

    def __call__(self, place: str) -> Any:
        from jobs_patches import staged

        from qatool.extraction.engines import workers

        staged()
        workers.Answerer = DeadlyAnswerer
        worker = super().__call__(place)
        assert isinstance(worker, CardWorker)
        plain = worker.finish

        def finish(kept: Any, tick: Callable[[int], None]) -> Any:
            with Path("begun").open("a") as stream:
                stream.write(f"{kept.index} {os.getpid()}\n")
            return plain(kept, tick)

        worker.finish = finish
        return worker
