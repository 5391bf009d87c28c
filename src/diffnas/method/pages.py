"""Pages of the methods, and one table of them all, in Markdown. They are made from the methods and their facts."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

from diffnas.catalog import CATALOG
from diffnas.components.level import Level
from diffnas.lookup import lookup
from diffnas.method.dense import darts
from diffnas.method.facts import FACTS
from diffnas.method.record import Method, components
from diffnas.method.tables import METHODS

_SAME = "="


def named() -> dict[str, Method]:
    """The methods by their own names, without the aliases.

    >>> [name for name in METHODS if name not in named()]
    ['entmax3-single']
    """
    return {method.name: method for method in METHODS.values()}


def page(name: str, *, docs: str = "..") -> str:
    """The page of a method, in Markdown.

    Args:
        name: a name in ``METHODS``, or an alias there.
        docs: the folder of the longer pages, for links.

    Raises:
        ValueError: if there is no such method; the error names the most similar one.
    """
    method = lookup("method", name, METHODS)
    facts = FACTS.get(method.name)
    parts = [f"# `{method.name}`", CATALOG[method.name]]
    if facts:
        parts.append(f"Source: {facts.source}.")
        parts.append(f"```\n{facts.equations.strip()}\n```")
    unlike = "Bold: not as in `darts`." if method is not darts else "All other methods are compared with these."
    parts += ["## Components", unlike, _components(method), "## Defaults"]
    parts.append(_settings(method) or "All settings are those of DARTS: see `diffnas search --help`.")
    if facts:
        parts += ["## Published results", _bullets(facts.published), "## Known doubts", _bullets(facts.doubts)]
    parts += ["## How to run it", _commands(method, tabular=facts is None or facts.tabular)]
    if facts and facts.more:
        parts.append(f"More: [{facts.more}]({docs}/{facts.more}).")
    return "\n\n".join(parts) + "\n"


def table() -> str:
    """A table of all methods and their components, in Markdown. "=" means the same as in DARTS."""
    usual = _axes(darts)
    lines = [f"| method | {' | '.join(usual)} |", "|---|" + "---|" * len(usual)]
    for name, method in named().items():
        own = _axes(method)
        cells = [_code(text) if method is darts or text != usual[role] else _SAME for role, text in own.items()]
        lines.append(f"| [`{name}`]({name}.md) | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _axes(method: Method) -> dict[str, str]:
    return {**components(method), "settings": ", ".join(f"{name}={value}" for name, value in _defaults(method).items())}


def _code(text: str) -> str:
    return f"`{text}`" if text not in ("None", "()", "") else "none"


def _components(method: Method) -> str:
    """A line for each role; roles that are not as in DARTS are bold."""
    usual, own = components(darts), components(method)
    lines = []
    for role, text in own.items():
        told = _sentence(getattr(method, role)) if _code(text) != "none" else ""
        name = f"**{role}**" if text != usual[role] else role
        lines.append(f"{name}: {_code(text)}. {told}".rstrip())
    return _bullets(lines)


def _sentence(component: Any) -> str:
    """The first paragraph of a component's docstring, if the component is from diffnas; else nothing."""
    if isinstance(component, tuple):
        return " ".join(filter(None, map(_sentence, component)))
    if isinstance(component, Level):
        return _sentence(component.step)
    if isinstance(component, partial):
        return _sentence(component.func)
    described = component if inspect.isfunction(component) or inspect.isclass(component) else type(component)
    if not described.__module__.startswith("diffnas."):
        return ""
    return (inspect.getdoc(described) or "").split("\n\n")[0].replace("\n", " ").replace("``", "`")


def _settings(method: Method) -> str:
    return _bullets([f"`{name}`: {value}" for name, value in _defaults(method).items()])


def _defaults(method: Method) -> dict[str, Any]:
    """The method's own settings, and its space if it has one."""
    return {**({"space": method.space} if method.space else {}), **method.settings}


def _bullets(texts: tuple[str, ...] | list[str]) -> str:
    return "\n".join(f"- {text}" + ("" if text.endswith((".", ":")) else ".") for text in texts)


def _commands(method: Method, *, tabular: bool) -> str:
    name = method.name
    lines = [
        f"diffnas run --method {name}",
        f"diffnas search cifar10 --data-dir data --method {name} --out runs/{name}",
    ]
    if tabular:
        lines.append(f"diffnas search cifar10 --data-dir data --method {name} --recipe nas-bench-201-small")
    about = "The embedded digits, in minutes; CIFAR-10 at the published size, GPU-days"
    about += "; NAS-Bench-201 in minutes on one core:" if tabular else ":"
    return f"{about}\n\n```bash\n" + "\n".join(lines) + "\n```"
