"""Run an iterator ahead of its consumer, in a thread."""

from __future__ import annotations

import queue
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")

LEFT_BEHIND = "qatool-ahead"
"""Name of the thread."""
POLL_S = 0.1
"""How often a waiting consumer looks up."""
LEAVE_S = 2.0
"""How long leaving waits for the thread to come to its end."""


@dataclass(frozen=True)
class _Item(Generic[T]):
    value: T


@dataclass(frozen=True)
class _End:
    error: BaseException | None = None


def _nothing() -> None:
    """Do nothing."""


@contextmanager
def ahead(items: Iterable[T], *, depth: int = 1, poll: Callable[[], None] = _nothing) -> Iterator[Iterator[T]]:
    """Iterate over ``items`` in a thread that stays at most ``depth`` items ahead of the consumer.

    An exception of the iterator surfaces where the consumer asks for the item. Leaving the context ends the thread
    after the item it is at; a thread that is long at one is left behind (it is a daemon).

    :param poll: called ten times a second while the consumer waits; it may raise
    """
    ready: queue.SimpleQueue[_Item[T] | _End] = queue.SimpleQueue()
    slots = threading.Semaphore(depth)
    left = threading.Event()

    def produce() -> None:
        try:
            iterator = iter(items)
            while True:
                slots.acquire()
                if left.is_set():
                    return
                ready.put(_Item(next(iterator)))
        except StopIteration:
            ready.put(_End())
        except BaseException as error:  # noqa: BLE001  (handed to the consumer)
            ready.put(_End(error))

    def consume() -> Iterator[T]:
        while True:
            try:
                item = ready.get(timeout=POLL_S)
            except queue.Empty:
                poll()
                continue
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            slots.release()
            yield item.value

    thread = threading.Thread(target=produce, name=LEFT_BEHIND, daemon=True)
    thread.start()
    try:
        yield consume()
    finally:
        left.set()
        slots.release()
        thread.join(LEAVE_S)
