"""The command line: one small file per command, and one place in which all errors are caught.

The callbacks of the commands import what the work needs only when they are called, so that help and messages about
wrong options appear at once.
"""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import select
import signal
import sys
import tempfile
import threading
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO

import click
from click.shell_completion import shell_complete

import qatool
from qatool.cli import calibrate, doctor, evaluate, export, extract, finetune, inspect, prep, report, status
from qatool.cli.command import CONTEXT_SETTINGS, parse_problem
from qatool.cli.streams import prepare_streams
from qatool.cli.surroundings import NO_WORKING_FOLDER, has_working_folder
from qatool.errors import (
    EXIT_DONE,
    InputError,
    Interrupted,
    OutputError,
    QatoolError,
    Terminated,
    UsageError,
    failure_behind,
)
from qatool.jobs.prefetch import LEFT_BEHIND
from qatool.logs import harmless, log_crash, log_end, setup_logging
from qatool.options import ScreenOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROGRAM = "qatool"
_COMPLETE_VARIABLE = "_QATOOL_COMPLETE"


class _Commands(click.Group):
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a command; report an unknown one with a suggestion, in every version of click.

        :raises UsageError: there is no such command
        """
        if args[0] not in self.commands and not ctx.resilient_parsing:
            from difflib import get_close_matches

            near = get_close_matches(args[0], self.commands, n=1)
            end = f"did you mean {near[0]}?" if near else f"see {PROGRAM} --help"
            raise UsageError(f"{args[0]}: no such command; {end}")
        return super().resolve_command(ctx, args)


commands = _Commands(
    PROGRAM,
    help="Extractive question answering in bulk: from files of documents and questions to a file of answers.",
    commands={
        command.name or "": command
        for command in (
            extract.command,
            calibrate.command,
            doctor.command,
            evaluate.command,
            export.command,
            finetune.command,
            inspect.command,
            prep.command,
            report.command,
            status.command,
        )
    },
    context_settings=CONTEXT_SETTINGS,
    no_args_is_help=True,
)
click.version_option(qatool.__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")(commands)


class _TerminateNow(BaseException):
    """Raised by SIGTERM and SIGHUP while no :class:`~qatool.jobs.stopping.Stop` handles them."""


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the command by an exception, as Ctrl-C does, so that locks are released.

    Code of libraries may swallow or replace an exception that a signal handler raises inside it. So the handlers also
    note the signal, and the exception is raised again at the end.
    """
    came: type[BaseException] | None = None

    def terminated(number: int, _frame: object) -> None:
        nonlocal came
        if came is _TerminateNow:
            if number == signal.SIGHUP:
                return
            os._exit(128 + number)
        came = _TerminateNow
        raise came

    def interrupted(_number: int, _frame: object) -> None:
        nonlocal came
        came = came or KeyboardInterrupt
        raise KeyboardInterrupt

    ours = {
        number: (handler, before)
        for number, handler, before in (
            (signal.SIGTERM, terminated, signal.SIG_DFL),
            (signal.SIGHUP, terminated, signal.SIG_DFL),
            (signal.SIGINT, interrupted, signal.default_int_handler),
        )
        if threading.current_thread() is threading.main_thread() and signal.getsignal(number) is before
    }
    for number, (handler, _) in ours.items():
        signal.signal(number, handler)
    try:
        yield
    except Exception as error:
        if came is not None:
            raise came from error
        raise
    finally:
        for number, (_, before) in ours.items():
            signal.signal(number, before)
    if came is not None:
        raise came


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process with its exit code.

    :param argv: the arguments after the program's name, ``None`` for those of this process
    """
    prepare_streams()
    look_less_for_garbage()
    try:
        code = run(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:  # a second one, while the command was ending at the first
        code = Interrupted.exit_code
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # from here on, nothing needs an orderly end
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        # That it could not be written has been reported by now.
        _silence(sys.stdout)
    if any(thread.daemon and thread.name == LEFT_BEHIND for thread in threading.enumerate()):
        # The thread may be inside code of a library that crashes when the interpreter shuts down.
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def look_less_for_garbage() -> None:
    """Make full garbage collections a hundred times rarer, in versions of Python that have such collections.

    The libraries create half a million objects that stay. Visiting all of them repeatedly takes a seventh of the
    start, and later pauses of 0.2 s while a card waits.
    """
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, 1_000)


def run(argv: Sequence[str]) -> int:
    """Run the command line and return its exit code; every failure ends here, as lines on standard error.

    :param argv: the arguments after the program's name
    """
    # For warnings of commands without options for logging; other commands set it up again.
    setup_logging(ScreenOptions())
    try:
        with _stoppable():
            code = _dispatch(list(argv))
        sys.stdout.flush()
    except QatoolError as error:
        return _complain(error, *error.lines())
    except (KeyboardInterrupt, click.Abort):
        return _complain(Interrupted, "interrupted; start the same command again")
    except _TerminateNow:
        return _complain(Terminated, "terminated; start the same command again")
    except BrokenPipeError as error:
        if not _reader_is_gone():
            return _crashed(error)
        _silence(sys.stdout, sys.stderr)
        return OutputError.exit_code
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not has_working_folder():
            return _complain(InputError, NO_WORKING_FOLDER)
        if error.errno == errno.EBADF and _is_closed(sys.stdout):
            _silence(sys.stdout)
            return _complain(OutputError, "standard output: is closed; open it, or name a file")
        return _failed(error)
    except Exception as error:  # noqa: BLE001 the one place that catches
        return _failed(error)
    return code


def _dispatch(argv: list[str]) -> int:
    if instruction := os.environ.get(_COMPLETE_VARIABLE):
        return shell_complete(commands, {}, PROGRAM, _COMPLETE_VARIABLE, instruction)
    try:
        with commands.make_context(PROGRAM, argv) as ctx:
            commands.invoke(ctx)
    except click.exceptions.Exit as ending:
        return ending.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return UsageError.exit_code
    except click.UsageError as error:
        raise UsageError(parse_problem(error, error.ctx or click.Context(commands, info_name=PROGRAM))) from None
    return EXIT_DONE


def _complain(error: QatoolError | type[QatoolError], *lines: str) -> int:
    log_end(error, "\n".join(lines))
    return _said(error, *lines)


def _said(error: QatoolError | type[QatoolError], *lines: str) -> int:
    with suppress(BrokenPipeError):
        for line in lines:
            click.echo(f"Error: {harmless(line)}", err=True)
    return error.exit_code


def _failed(error: Exception) -> int:
    """End with the failure that an exception of a library stands for, or as a bug."""
    failure = failure_behind(error)
    if failure is None:
        return _crashed(error)
    if isinstance(failure, OutputError):
        _silence(sys.stdout)
    log_end(failure, str(failure), cause=error)
    return _said(failure, *failure.lines())


def _crashed(error: Exception) -> int:
    what = f"{type(error).__name__}: {error}"
    log = log_crash(error) or _write_crash_file(error)
    return _said(QatoolError, f"internal error: {what} (a bug; traceback in {log})")


def _write_crash_file(error: Exception) -> str:
    """Write the traceback to a new file in the folder for temporary files, and return its path."""
    text = "".join(traceback.format_exception(error))
    path = Path(tempfile.gettempdir(), f"qatool-crash-{os.getpid()}.log")
    try:
        try:
            # O_EXCL, so that a link which somebody else put under this predictable name is not followed.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            descriptor, name = tempfile.mkstemp(prefix=f"{path.stem}-", suffix=".log")
            path = Path(name)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as problem:
        return f"no file: {problem.strerror}"
    return str(path)


def _reader_is_gone() -> bool:
    """Return whether the reader of standard output or standard error is gone; a broken pipe elsewhere is a bug."""
    for stream in (sys.stdout, sys.stderr):
        poll = select.poll()
        try:
            poll.register(stream.fileno(), 0)
        except (OSError, ValueError):
            continue
        if any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
            return True
    return False


def _is_closed(stream: TextIO) -> bool:
    """Return whether nothing can be written to a stream."""
    try:
        return fcntl.fcntl(stream.fileno(), fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
    except (OSError, ValueError):
        return True


def _silence(*streams: TextIO) -> None:
    """Redirect streams to nowhere, so that Python does not complain at exit about what is still buffered."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        with suppress(OSError, ValueError):
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


__all__ = ["commands", "look_less_for_garbage", "main", "run"]
