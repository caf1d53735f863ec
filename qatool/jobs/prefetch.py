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

LEFT_BEHIND = "qatool-left-behind"
"""Name of threads that may still be at work when their context is left, and that an exit must not wait for."""
POLL_S = 0.1
"""How often ``poll`` is called while the consumer waits."""
MOMENT_S = 0.005
LEAVE_S = 2.0
"""How long leaving the context waits for the thread to end."""


@dataclass(frozen=True)
class _Item(Generic[T]):
    value: T


@dataclass(frozen=True)
class _End:
    error: BaseException | None = None


def _nothing() -> None:
    """Do nothing."""


@contextmanager
def prefetched(items: Iterable[T], *, depth: int = 1, poll: Callable[[], None] = _nothing) -> Iterator[Iterator[T]]:
    """Iterate over ``items`` in a thread that stays at most ``depth`` items ahead of the consumer.

    An exception of the iterator is raised where the consumer asks for the item. Leaving the context ends the thread
    after its current item; if that takes long, the thread is left behind (it is a daemon).

    :param poll: called ten times a second while the consumer waits; it may raise
    """
    with _producing(items, depth) as take:

        def consume() -> Iterator[T]:
            while not isinstance(item := take(POLL_S), _End):
                if item is None:
                    poll()
                else:
                    yield item.value

        yield consume()


@contextmanager
def prefetched_or_none(items: Iterable[T]) -> Iterator[Iterator[T | None]]:
    """Iterate as :func:`prefetched` does, but yield ``None`` whenever the consumer would wait longer than 5 ms."""
    with _producing(items, depth=1) as take:

        def consume() -> Iterator[T | None]:
            while not isinstance(item := take(MOMENT_S), _End):
                yield None if item is None else item.value

        yield consume()


@contextmanager
def _producing(items: Iterable[T], depth: int) -> Iterator[Callable[[float], _Item[T] | _End | None]]:
    """Iterate in a thread; yield a function that returns the next item, or ``None`` if none comes in time.

    The function takes the number of seconds to wait.
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

    def take(seconds: float) -> _Item[T] | _End | None:
        try:
            item = ready.get(timeout=seconds)
        except queue.Empty:
            return None
        if not isinstance(item, _End):
            slots.release()
        elif item.error is not None:
            raise item.error
        return item

    thread = threading.Thread(target=produce, name=LEFT_BEHIND, daemon=True)
    thread.start()
    try:
        yield take
    finally:
        left.set()
        slots.release()
        thread.join(LEAVE_S)
