"""The options, in one frozen dataclass per command: all defaults, help texts and checks of values.

The command line is made from the fields (see ``qatool.cli.options``), so that each default is defined only here.
Creating a dataclass with invalid values raises one :class:`~qatool.errors.UsageError` that names every problem.
``None`` means "not chosen by the user": the value is then taken from the model, the device or the decode preset.
"""

from qatool.options.calibrate import CalibrateOptions
from qatool.options.doctor import DoctorOptions
from qatool.options.evaluate import EvaluateOptions, Rules
from qatool.options.export import ExportOptions
from qatool.options.extract import DECODE_PRESETS, DecodePreset, ExtractOptions
from qatool.options.finetune import FinetuneOptions
from qatool.options.flags import Flag, argument, option, required
from qatool.options.inspect import InspectOptions
from qatool.options.prep import Answers, PrepOptions
from qatool.options.report import ReportOptions
from qatool.options.shared import (
    DEFAULT_MAX_LENGTH,
    DEFAULT_NO_ANSWER_THRESHOLD,
    DEFAULT_STRIDE,
    Backend,
    Decode,
    LogFormat,
    OnError,
    Precision,
    Progress,
    RowOptions,
    ScreenOptions,
    WindowOptions,
)
from qatool.options.status import StatusOptions

__all__ = [
    "DECODE_PRESETS",
    "DEFAULT_MAX_LENGTH",
    "DEFAULT_NO_ANSWER_THRESHOLD",
    "DEFAULT_STRIDE",
    "Answers",
    "Backend",
    "CalibrateOptions",
    "Decode",
    "DecodePreset",
    "DoctorOptions",
    "EvaluateOptions",
    "ExportOptions",
    "ExtractOptions",
    "FinetuneOptions",
    "Flag",
    "InspectOptions",
    "LogFormat",
    "OnError",
    "Precision",
    "PrepOptions",
    "Progress",
    "ReportOptions",
    "RowOptions",
    "Rules",
    "ScreenOptions",
    "StatusOptions",
    "WindowOptions",
    "argument",
    "option",
    "required",
]
