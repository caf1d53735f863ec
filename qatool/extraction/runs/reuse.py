"""``--reuse``: find the files whose answers may be taken over."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from qatool.extraction.answering.previous import is_whole, made_by, parquet_files
from qatool.files.storage.locations import location
from qatool.jobs.runfolder.plan import differences
from qatool.logs import log_event
from qatool.places import same_place

if TYPE_CHECKING:
    from qatool.extraction.answering.resolved import AnswerIdentity
    from qatool.files.storage.locations import Location
    from qatool.options import ExtractOptions


def reusable_files(options: ExtractOptions, identity: AnswerIdentity) -> list[Location]:
    """Return the Parquet files of the earlier output whose answers may be taken over.

    There are none, and a warning is logged, where the answers were made by another model or with other options.

    :raises InputError: the earlier output was not written by ``qatool extract``
    """
    if options.reuse is None:
        return []
    path = location(options.reuse)
    if same_place(options.reuse, options.output) and not is_whole(path):
        return []  # the first of many runs that each reuse the output of the run before
    earlier = made_by(path)
    if earlier.answer_fingerprint == identity.fingerprint and earlier.best_per is None:
        return parquet_files(path)
    why = (
        "the earlier output holds the best answers of --best-per only, with scores over all documents"
        if earlier.best_per
        else f"the earlier answers were made otherwise ({'; '.join(differences(earlier.values, identity.as_json()))})"
    )
    log_event(f"nothing is reused: {why}", level=logging.WARNING, reuse=str(path))
    return []
