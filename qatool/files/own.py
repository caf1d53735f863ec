"""What a command writes is not what it reads: a folder that is input may hold the output of an earlier run."""

from __future__ import annotations

import os
from functools import cache
from pathlib import PurePath
from typing import TYPE_CHECKING

from qatool.errors import InputError
from qatool.logs import log_event
from qatool.places import entry_of, places_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qatool.files.paths import Source


def without_own(
    sources: Sequence[Source], given: Sequence[str], *, written: Iterable[str], log_file: str | None
) -> list[Source]:
    """Leave out what earlier runs of a command wrote among its inputs.

    :param given: the inputs as they were named, for messages
    :param written: files and folders that the command writes
    :param log_file: that it appends to
    :raises InputError: nothing is left
    """
    own = {PurePath(entry_of(name)) for name in written}
    # A log is appended to: it stays where a link leads.
    own |= {PurePath(place) for place in places_of(log_file)} if log_file else set()
    real_folder = cache(os.path.realpath)  # many files have a folder in common

    def is_own(source: Source) -> bool:
        places = map(PurePath, places_of(str(source.path), real_folder=real_folder))
        return any(not own.isdisjoint((place, *place.parents)) for place in places)

    # Standard input is spooled into the run folder, and is no earlier run's work.
    kept = [source for source in sources if source.name == "<stdin>" or not is_own(source)]
    if len(kept) < len(sources):
        log_event("not read: what this command itself writes", files=len(sources) - len(kept))
    if not kept:
        raise InputError(f"{', '.join(given)}: holds nothing but what this command writes; add input files")
    return kept
