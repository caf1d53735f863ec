"""Options of ``qatool doctor``."""

from __future__ import annotations

from dataclasses import dataclass

from qatool.errors import UsageError
from qatool.options.checks import device_problems
from qatool.options.flags import Flag, option, settle
from qatool.options.shared import DEVICE, JSON, MODEL, ScreenOptions


@dataclass(frozen=True, kw_only=True)
class DoctorOptions(ScreenOptions):
    """Options of ``qatool doctor``.

    :raises UsageError: a value makes no sense.
    """

    model: str | None = option(MODEL)
    device: str = option(DEVICE, default="auto")
    speed: bool = option(
        Flag("Measure how fast this machine reads; takes about a minute.", "Measuring"), default=True
    )
    json: bool = option(JSON, default=False)

    def __post_init__(self) -> None:
        settle(self)
        if problems := [*device_problems(self.device), *self._screen_problems()]:
            raise UsageError(*problems)
