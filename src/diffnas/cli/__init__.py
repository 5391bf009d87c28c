"""The command ``diffnas``: what it is called with, and what it exits with.

Exit codes: 0 fine; 2 the input was wrong; 1 the run failed; 3 the network that was found missed its target (it is
kept); 130 and 143 interrupted by SIGINT or SIGTERM.
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

# typer names it only through its subclasses. It is what wrong options and arguments raise.
_UsageError = typer.BadParameter.__mro__[1]
_INTERRUPTED = 128 + signal.SIGINT
_WRONG_INPUT = (ValueError, FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError, ImportError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code comes back."""
    # Before torch is imported: threads that spin while they wait make cores that are shared up to ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    _print_anything()
    command = typer.main.get_command(app)
    try:
        code = command.main(arguments, prog_name="diffnas", standalone_mode=False)
        # typer itself turns KeyboardInterrupt into this code, without a word.
        return _stop() if code == _INTERRUPTED else code if isinstance(code, int) else 0
    except Exception as error:
        return _explain(error)
    except KeyboardInterrupt:
        return _stop()


def _print_anything() -> None:
    """Have a terminal that cannot show a letter show its number, instead of stopping in the middle."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _stop() -> int:
    """Interrupted where nothing could be saved: while data was loaded, say, or by a second signal."""
    print("interrupted. What was saved before stands.", file=sys.stderr)
    return _INTERRUPTED


def _explain(error: Exception) -> int:
    """Say in one line what went wrong; what nobody foresaw is raised again, for its traceback."""
    if isinstance(error, _UsageError):
        return _complain(explain_usage(error, typer.main.get_command(app)), 2)
    if isinstance(error, typer.Abort):
        return _stop()
    if isinstance(error, _WRONG_INPUT):
        return _complain(_text(error), 2)
    from diffnas.deploy import Disagreement
    from diffnas.engine.listen import Interrupted, NotFinite, OutOfMemory
    from diffnas.engine.memory import ran_out

    if isinstance(error, Interrupted):
        print(showable(str(error)), file=sys.stderr)
        return 128 + error.signal
    if isinstance(error, NotFinite | OutOfMemory | Disagreement):
        return _complain(_text(error), 1)
    if ran_out(error):
        return _complain("memory ran out. Free some, or ask for less: a smaller --batch, --channels or --size.", 1)
    if isinstance(error, OSError):
        return _complain(_text(error), 1)
    raise error


def _text(error: Exception) -> str:
    """An error's message; for one of the system's, the file it is about."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def _complain(message: str, code: int) -> int:
    print(f"error: {showable(' '.join(message.split()))}", file=sys.stderr)
    return code
