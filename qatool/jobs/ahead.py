"""Run an iterator ahead of its consumer, in a thread."""

from __future__ import annotations

import queue
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")


@dataclass(frozen=True)
class _Item(Generic[T]):
    value: T


@dataclass(frozen=True)
class _End:
    error: BaseException | None = None


@contextmanager
def ahead(items: Iterable[T], *, depth: int = 1) -> Iterator[Iterator[T]]:
    """Iterate over ``items`` in a thread that stays at most ``depth`` items ahead of the consumer.

    An exception of the iterator surfaces where the consumer asks for the item. Leaving the context ends the thread
    after the item it is at.
    """
    ready: queue.Queue[_Item[T] | _End] = queue.Queue(maxsize=depth)
    left = threading.Event()

    def offer(item: _Item[T] | _End) -> bool:
        while not left.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def produce() -> None:
        try:
            for item in items:
                if not offer(_Item(item)):
                    return
            offer(_End())
        except BaseException as error:  # noqa: BLE001  (handed to the consumer)
            offer(_End(error))

    def consume() -> Iterator[T]:
        while True:
            item = ready.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item.value

    thread = threading.Thread(target=produce, name="qatool-ahead", daemon=True)
    thread.start()
    try:
        yield consume()
    finally:
        left.set()
