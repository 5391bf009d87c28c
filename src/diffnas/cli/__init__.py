"""The command ``diffnas`` and its exit codes.

- 0: all went well.
- 1: the run failed.
- 2: the input was wrong.
- 3: the found network, which is kept, missed its target.
- 130 and 143: SIGINT or SIGTERM interrupted the run.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from io import TextIOWrapper

import typer

from diffnas.cli.commands import app
from diffnas.cli.usage import explain_usage
from diffnas.names import showable

# The base class of the errors for wrong options and arguments. typer exports only its subclasses.
_UsageError = typer.BadParameter.__mro__[1]
_INTERRUPTED = 128 + signal.SIGINT
_WRONG_INPUT = (ValueError, FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError, ImportError)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of the command, which runs here."""
    # This must come before torch is imported. Threads that spin while they wait slow shared cores up to ten times.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    _print_anything()
    command = typer.main.get_command(app)
    try:
        code = command.main(arguments, prog_name="diffnas", standalone_mode=False)
        # typer turns KeyboardInterrupt into this code and prints nothing.
        return _stop() if code == _INTERRUPTED else code if isinstance(code, int) else 0
    except Exception as error:
        return _explain(error)
    except KeyboardInterrupt:
        return _stop()


def _print_anything() -> None:
    """Make terminals print the number of a letter that they cannot show; otherwise printing would fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _stop() -> int:
    """The exit code after an interruption at which nothing could be saved, such as while data was loaded."""
    print("interrupted. All that was saved before is kept.", file=sys.stderr)
    return _INTERRUPTED


def _explain(error: Exception) -> int:
    """The exit code for an error, which is told in one line. An unexpected error is raised again for its traceback."""
    if isinstance(error, _UsageError):
        return _complain(explain_usage(error, typer.main.get_command(app)), 2)
    if isinstance(error, typer.Abort):
        return _stop()
    if isinstance(error, _WRONG_INPUT):
        return _complain(_text(error), 2)
    from diffnas.deploy import Disagreement
    from diffnas.engine.listen import Diverged, Interrupted, Lost, NotFinite, OutOfMemory
    from diffnas.engine.memory import ran_out

    if isinstance(error, Interrupted):
        print(showable(str(error)), file=sys.stderr)
        return 128 + error.signal
    if isinstance(error, NotFinite | OutOfMemory | Disagreement | Lost | Diverged):
        return _complain(_text(error), 1)
    if ran_out(error):
        return _complain("memory ran out. Free some, or ask for less: a smaller --batch, --channels or --size.", 1)
    if isinstance(error, OSError):
        return _complain(_text(error), 1)
    raise error


def _text(error: Exception) -> str:
    """The message of an error; for an error of the operating system, with the name of the file."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def _complain(message: str, code: int) -> int:
    print(f"error: {showable(' '.join(message.split()))}", file=sys.stderr)
    return code
