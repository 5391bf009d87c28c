"""Explanations of commands that were typed wrongly."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from diffnas.engine.settings import EvaluateSettings, SearchSettings
from diffnas.values import kinds


def explain_usage(error: Any, commands: Any) -> str:
    """A usage error in one line, with the most similar valid option and the command that prints help.

    Args:
        error: the error from typer.
        commands: the command group of diffnas.
    """
    asked = error.ctx.command_path if error.ctx else "diffnas"
    unknown = type(error).__name__ == "NoSuchOption"
    said = _no_such_option(error.option_name, error.ctx.command, commands) if unknown else error.format_message()
    return f"{said} See: {asked} --help"


def _no_such_option(option: str, command: Any, commands: Any) -> str:
    """The explanation of an option that ``command`` does not have."""
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
    """How ``diffnas run`` takes an option that is a setting of one of its phases; empty for all other options."""
    setting = option.lstrip("-").replace("-", "_")
    phases = {"search": SearchSettings, "evaluate": EvaluateSettings}
    known = [phase for phase, record in phases.items() if command == "run" and setting in kinds(record)]
    return [f"--set {phase}.{setting}=VALUE" for phase in known]
