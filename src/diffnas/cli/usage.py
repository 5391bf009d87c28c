"""What to say of a command that was typed wrongly."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from diffnas.engine.settings import EvaluateSettings, SearchSettings
from diffnas.values import kinds


def explain_usage(error: Any, commands: Any) -> str:
    """An error of usage in one line, with the nearest word that is right and the command whose help to read.

    Args:
        error: what typer raised.
        commands: the command group of diffnas.
    """
    asked = error.ctx.command_path if error.ctx else "diffnas"
    unknown = type(error).__name__ == "NoSuchOption"
    said = _no_such_option(error.option_name, error.ctx.command, commands) if unknown else error.format_message()
    return f"{said} See: {asked} --help"


def _no_such_option(option: str, command: Any, commands: Any) -> str:
    """What to say of an option that ``command`` does not have."""
    words = [f"No such option: {option}."]
    elsewhere = [f"diffnas {name}" for name, other in commands.commands.items() if option in _options(other)]
    if ways := _settings(option, command.name):
        words.append(f"It is a setting: {' or '.join(ways)}.")
    elif close := get_close_matches(option, _options(command), n=1):
        words.append(f"Did you mean {close[0]}?")
    if elsewhere:
        words.append(f"{option} belongs to {', '.join(elsewhere)}.")
    return " ".join(words)


def _options(command: Any) -> list[str]:
    return [option for parameter in command.params for option in parameter.opts if option.startswith("-")]


def _settings(option: str, command: str) -> list[str]:
    """How to write an option that is a setting of the two phases of a whole run; nothing if it is none."""
    setting = option.lstrip("-").replace("-", "_")
    phases = {"search": SearchSettings, "evaluate": EvaluateSettings}
    known = [phase for phase, record in phases.items() if command == "run" and setting in kinds(record)]
    return [f"--set {phase}.{setting}=VALUE" for phase in known]
