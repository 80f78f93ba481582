"""Entry point: collects the verbs and turns errors into one line and an exit code."""

import errno
import importlib
import inspect
import io
import os
import re
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import typer

from diffusion4k import __version__
from diffusion4k.errors import Diffusion4kError, one_line
from diffusion4k.support.text_files import visible

__all__ = ["app", "main"]

_PANELS = {
    "Start": ("demo", "models", "plan"),
    "Data": ("dataset", "cache"),
    "Training": ("train", "ablate", "vae", "lora", "merge_lora", "export"),
    "Images": ("generate",),
    "Measuring": ("evaluate", "benchmark", "compare", "figure"),
    "People and judges": ("study", "judge"),
}
"""Verbs in the order of the help; each is a module of this package."""
VERBS = tuple(verb for verbs in _PANELS.values() for verb in verbs)

_WrongUsage: type[Any] = typer.BadParameter.__mro__[1]
"""Base class of everything that Typer refuses."""
_INTERRUPTED = 130
_STOPPED = "interrupted; finished work is kept, run the same command to continue"
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)

app = typer.Typer(
    name="diffusion4k",
    help="Direct 4K text-to-image synthesis: fine-tune with wavelets, sample, measure.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"diffusion4k {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    pass


def _reflow(group: typer.Typer) -> None:
    """Leave it to Rich to break the lines of all help texts, which would keep ours too."""
    for command in group.registered_commands:
        paragraphs = inspect.cleandoc(command.callback.__doc__ or "").split("\n\n")
        command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    for inner in group.registered_groups:
        assert inner.typer_instance
        _reflow(inner.typer_instance)


def _register(panel: str, verb: str) -> None:
    importlib.import_module(f"diffusion4k.cli.{verb}").register(app)
    for commands in (app.registered_commands, app.registered_groups):
        for each in commands:
            if not isinstance(each.rich_help_panel, str):  # the one that came just now
                each.rich_help_panel = panel


for _panel, _verbs in _PANELS.items():
    for _verb in _verbs:
        _register(_panel, _verb)
_reflow(app)


def main() -> None:
    """Run the command line; exit 0 on success, 2 on wrong usage, 1 on failure, 130 on Ctrl-C."""
    # Each attempt to reach the hub is no news: what came of it is said once.
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    try:
        Path.cwd()
    except OSError:
        # Libraries that are imported later end the process over it.
        _fail("the working directory is gone: change to a folder that exists", 1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file name may hold what is no text here; standard error does the same by itself.
        sys.stdout.reconfigure(errors="backslashreplace")
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)
    try:
        code = app(prog_name="diffusion4k", standalone_mode=False)
        if sys.stdout:
            sys.stdout.flush()  # Here, where a lack of room can be reported.
        # Typer turns Ctrl-C into its code, in silence.
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        sys.exit(code)
    except Diffusion4kError as error:
        _fail(str(error), error.exit_code)
    except _WrongUsage as error:
        # A group without a verb has shown its help.
        if type(error).__name__ == "NoArgsIsHelpError":
            sys.exit(error.exit_code)
        _fail(_refusal(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        # While libraries shut down, a second one would crash them.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _fail(_STOPPED, _INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output left (for example `| head`); that is no failure of ours.
        _give_up_output()
    except OSError as error:
        if not (refusal := _disk_refusal(_first(error))):
            raise
        _fail(refusal, 1)


def _disk_refusal(error: OSError) -> str:
    """What the system refuses about a file, and what to do; empty if it names none."""
    if error.errno not in _DISK:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else ""
    written = error.filename2 or error.filename or "output"  # of a copy the second one
    if error.errno == errno.ENOSPC:
        what = f"disk full while writing {written}: free some space"
    else:
        what = f"{written}: cannot be written ({error.strerror}): make room or check the disk"
    return f"{what} and run the same command to continue"


def _first(error: OSError) -> OSError:
    """The first of the errors that `shutil.copytree` collects as texts."""
    if not isinstance(error, shutil.Error):
        return error
    _, target, reason = error.args[0][0]
    found = re.search(r"Errno (\d+)", reason)
    number = int(found[1]) if found else errno.EIO
    return OSError(number, os.strerror(number), target)


def _interrupted(number: int, frame: FrameType | None) -> None:
    """Ctrl-C; libraries of C++ that are just being imported abort over an exception."""
    outer = frame
    while outer:
        if outer.f_code.co_filename.startswith("<frozen importlib"):
            os.write(2, f"error: {_STOPPED}\n".encode())
            os._exit(_INTERRUPTED)
        outer = outer.f_back
    signal.default_int_handler(number, frame)


def _refusal(error: Any) -> str:
    """What Typer refuses, reported as our own errors are."""
    from pydantic import ValidationError

    from diffusion4k.config.problems import allowed

    if isinstance(error.__cause__, ValidationError):
        problem = error.__cause__.errors()[0]
        name = error.param.get_error_hint().replace("'", "")
        if words := allowed(problem):
            return f"{name} {problem['input']}: allowed {words}"
    message = error.format_message().rstrip(".")
    return f"{message} (see `{error.ctx.command_path} --help`)" if error.ctx else message


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"error: {visible(one_line(message, None))}", err=True)
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        _give_up_output()
    sys.exit(code)


def _give_up_output() -> None:
    """Send what standard output did not take nowhere: Python would complain of it once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
