"""Options of ``qatool status``."""

from __future__ import annotations

from dataclasses import dataclass

from qatool.options.flags import Flag, argument, option, settle
from qatool.options.shared import JSON


@dataclass(frozen=True, kw_only=True)
class StatusOptions:
    """Options of ``qatool status``."""

    output: str = argument(Flag("The output of an extraction: what its -o names.", "Output", metavar="OUTPUT"))
    json: bool = option(JSON, default=False)

    def __post_init__(self) -> None:
        settle(self)
