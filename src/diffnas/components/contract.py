"""The contract of components: what a user's function returns is checked once, where it enters.

No later code checks it again. If a tensor had another shape, compiled kernels would read memory outside it. Type,
shape, dtype and device are always checked. On a CPU, the numbers are always checked too. On a GPU, a check of numbers
makes the host wait, so it is done only in steps in which the host also reads the loss.

An exception that a component raises passes unchanged, because its type and its traceback say more than we could. From
Python 3.11 on, the exception has a note with the component's name and arguments.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from diffnas.components.schedule import Moment

LOOK_EVERY = 50
"""Steps from one check of the numbers on a GPU to the next. A check makes the host wait for the GPU."""

# A weight that a component computes as 1 minus the sum of the others may miss 0 by so much.
_ROUNDING = 1e-6
# The sum of weights that a component computes in float32 may miss 1 by so much.
_SUM_ROUNDING = 1e-3
# If entries of alpha lie this far apart, any weighting that gives zeros gives one; even entmax of order 1.01 does.
_FAR = 200.0


class Bounds(NamedTuple):
    """The least and the largest value of weights, and how an error tells the two."""

    low: float
    high: float
    must: str


SHARES = Bounds(0.0, math.inf, "numbers from 0 on, for operations that compete share one sum (those of Gates do not)")
PROBABILITIES = Bounds(0.0, 1.0, "probabilities, from 0 to 1")
ANY = Bounds(-math.inf, math.inf, "finite numbers")


class Role(NamedTuple):
    """What a component is to a method.

    Attributes:
        name: the role's name in errors.
        takes: the names of the component's arguments, in order.
    """

    name: str
    takes: tuple[str, ...]


WEIGHTING = Role("weighting", ("alpha", "keep", "moment"))
OPEN = Role("probability", ("alpha", "keep", "moment"))
EDGES = Role("weighting of edges", ("beta", "keep", "moment"))
LEVEL = Role("step of the level", ("step",))
UPDATE = Role("update", ("tensors",))
REGULARIZER = Role("regularizer", ("at",))
PRUNING = Role("pruning rule", ("at",))
STOPPING = Role("stopping rule", ("history", "space"))
STAGES = Role("stages component", ("space", "epochs"))
ACT = Role("act of stage", ("pause",))
PICK = Role("pick", ("history", "space", "task"))
FAMILY = Role("family", ("history", "space"))
DISCRETIZE = Role("discretize rule", ("scores", "keep", "space"))
SCHEDULE = Role("schedule", ("moment",))
INITIAL = Role("initializer", ("net", "batch", "generator"))
CONTROL = Role("control", ("history", "space"))


def name_of(component: object) -> str:
    """The name of a component: that of its function or of its class. A text is quoted.

    >>> name_of(partial(math.pow, 2.0)), name_of(nn.Softmax(dim=-1)), name_of(nn.Softmax(dim=-1).forward)
    ('pow', 'Softmax', 'Softmax.forward')
    """
    if isinstance(component, str):
        return repr(component)
    inner = component.func if isinstance(component, partial) else component
    if inspect.ismethod(inner):
        return f"{name_of(inner.__self__)}.{inner.__name__}"
    return str(getattr(inner, "__name__", type(inner).__name__))


def told(came: object) -> str:
    """A value in a few words, for an error.

    >>> print(told(torch.zeros(2, 3)))
    a tensor (2, 3) of float32 on cpu
    >>> print(told(0.5))
    the float 0.5
    """
    if isinstance(came, Tensor):
        layout = "" if came.layout is torch.strided else f", {_word(came.layout)}"
        return f"a tensor {tuple(came.shape)} of {_word(came.dtype)} on {came.device}{layout}"
    if isinstance(came, np.ndarray):
        return f"a NumPy array {came.shape} of {came.dtype} (nothing is converted: torch.from_numpy makes a tensor)"
    if isinstance(came, list | tuple):
        return f"a {type(came).__name__} of {len(came)}"
    if came is None:
        return "None (is a return missing?)"
    if isinstance(came, type):
        return f"the class {came.__name__}, not an instance ({came.__name__}(...))"
    if inspect.isroutine(came):
        return f"the function {name_of(came)}"
    text = " ".join(repr(came).split())
    return f"the {type(came).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def _word(of: torch.dtype | torch.layout) -> str:
    return str(of).removeprefix("torch.")


def refuse(role: Role, component: object, must: str, came: object, *, to: str = "", said: str = "") -> NoReturn:
    """Raise an error that says what a component must return and what it returned.

    Args:
        role: the component's role.
        component: the component.
        must: what the component must return.
        came: what the component returned.
        to: the verb of a ``Pause`` or a ``Step``, if the component gave ``came`` to that verb and did not return it.
        said: a description of ``came``, in place of its type.

    Raises:
        ValueError: in any case.
    """
    asked, did = ("return", "returned") if not to else (f"give {to}", "gave")
    raise ValueError(f"the {role.name} {name_of(component)} must {asked} {must}; it {did} {said or told(came)}.")


def refuse_numbers(role: Role, component: object, must: str, values: Tensor, wrong: Tensor) -> NoReturn:
    """Raise an error that says which numbers a component must return, and the first of its wrong numbers.

    Args:
        role: the component's role.
        component: the component.
        must: what the component must return.
        values: what the component returned.
        wrong: which entries of ``values`` are wrong, bool, of the same shape.

    Raises:
        ValueError: in any case.
    """
    place = [int(index) for index in wrong.nonzero()[0]]
    where = f" at {place}" if place else ""
    number = float(values[tuple(place)])
    raise ValueError(f"the {role.name} {name_of(component)} must return {must}; it returned {number:g}{where}.")


@contextmanager
def naming(role: Role, component: object) -> Iterator[None]:
    """A context in which an exception that the component raises gets a note with the component's name."""
    try:
        yield
    except Exception as error:
        if sys.version_info >= (3, 11):
            error.add_note(f"(in the {role.name} {name_of(component)}, called with {', '.join(role.takes)})")
        raise


def call(role: Role, component: Callable[..., Any], *arguments: object, given: Sequence[Tensor] = ()) -> Any:
    """What a component returns.

    Args:
        role: the component's role.
        component: the component.
        arguments: the arguments for the component.
        given: the tensors among the arguments; the component must not change them.

    Raises:
        ValueError: if the component changed one of these tensors.
    """
    before = [tensor._version for tensor in given]
    with naming(role, component):
        found = component(*arguments)
    if [tensor._version for tensor in given] != before:
        raise ValueError(
            f"the {role.name} {name_of(component)} changed its arguments in place ({', '.join(role.takes)}); "
            "others read the same tensors. Let it work on a copy: tensor.clone()."
        )
    return found


def check_callable(role: Role, component: Any, *, classes: bool = False) -> None:
    """Raise an error if a component cannot be called with the arguments of its role.

    Args:
        role: the component's role.
        component: what the user gave.
        classes: whether a class is accepted, because a call of the class makes what the role returns.

    Raises:
        ValueError: if the component is a text, a class in place of an instance, a function of other arguments, or a
            partial that binds an option which its function does not have.
    """
    asked = f"a {role.name} is a function of ({', '.join(role.takes)})"
    if isinstance(component, str):
        raise ValueError(
            f"{asked}, not the text {component!r}. Texts name components on the command line and in components=; "
            "diffnas.method.component makes one of a role and a text."
        )
    if not callable(component) or (isinstance(component, type) and not classes):
        raise ValueError(f"{asked}, and this is {told(component)}.")
    _check_options(role, component)
    if not takes(role, component):
        raise ValueError(f"{asked}, and {name_of(component)} cannot be called with these. Bind its options: partial().")


def _check_options(role: Role, component: Callable[..., Any]) -> None:
    """Refuse a partial that binds an option which its function does not have."""
    if not isinstance(component, partial):
        return
    try:
        found = inspect.signature(component.func).parameters
    except ValueError:  # not written in Python
        return
    unknown = [name for name in component.keywords if name not in found]
    if unknown and all(each.kind is not each.VAR_KEYWORD for each in found.values()):
        options = list(found)[len(component.args) + len(role.takes) :]
        raise ValueError(
            f"the {role.name} {name_of(component)} has no option {unknown[0]!r}. "
            f"Its options: {', '.join(options) or 'none'}."
        )


def takes(role: Role, component: Callable[..., Any], *options: str) -> bool:
    """Whether a component can be called with the arguments of its role, and with options by name.

    True if Python cannot tell which arguments the component takes.
    """
    try:
        signature = inspect.signature(component.forward if isinstance(component, nn.Module) else component)
    except ValueError:  # not written in Python
        return True
    try:
        signature.bind(*role.takes, **dict.fromkeys(options))
    except TypeError:
        return False
    return True


def may_look(device: torch.device, step: int) -> bool:
    """Whether numbers on a device are checked in this step: always on a CPU, else in one of ``LOOK_EVERY`` steps.

    >>> [step for step in range(200) if may_look(torch.device("cuda"), step)]
    [0, 50, 100, 150]
    """
    return device.type == "cpu" or step % LOOK_EVERY == 0


def is_like(came: object, like: Tensor) -> bool:
    """Whether something is a dense tensor of the shape, dtype and device of ``like``."""
    return (
        isinstance(came, Tensor)
        and came.shape == like.shape
        and came.dtype == like.dtype
        and came.device == like.device
        and came.layout is torch.strided
    )


def weights(
    role: Role,
    component: Callable[..., Any],
    alpha: Tensor,
    keep: Tensor,
    moment: Moment,
    bounds: Bounds = SHARES,
) -> Tensor:
    """What a weighting returns for ``(alpha, keep, moment)``.

    Args:
        role: the weighting's role.
        component: the weighting, or the ``open`` of gates.
        alpha: ``(edges, ops)``.
        keep: ``(edges, ops)``, bool.
        moment: where the run stands.
        bounds: the least and the largest number that the weighting may return.

    Returns:
        A tensor of alpha's shape, dtype and device.

    Raises:
        ValueError: if the weighting returned something else, or numbers that are not finite, out of bounds, or not 0
            where ``keep`` is False.
    """
    mix = call(role, component, alpha, keep, moment, given=(alpha, keep))
    if not is_like(mix, alpha):
        refuse(role, component, f"one number for each of {role.takes[0]}: {told(alpha)}", mix)
    found: Tensor = mix
    if may_look(found.device, moment.step):
        _check_weights(role, component, found.detach(), keep, bounds)
    return found


@torch.no_grad()
def _check_weights(role: Role, component: object, mix: Tensor, keep: Tensor, bounds: Bounds) -> None:
    least, most = (float(bound) for bound in mix.aminmax())
    if not (math.isfinite(least) and math.isfinite(most)):
        refuse_numbers(role, component, "finite numbers", mix, ~mix.isfinite())
    low, high = bounds.low - _ROUNDING, bounds.high + _ROUNDING
    if least < low or most > high:
        refuse_numbers(role, component, bounds.must, mix, (mix < low) | (mix > high))
    stray = mix.masked_fill(keep, 0.0)
    if bool(stray.any()):
        refuse_numbers(role, component, "exactly 0 where keep is False (multiply by keep)", mix, stray != 0)


@torch.no_grad()
def check_sums(role: Role, component: object, mix: Tensor, keep: Tensor) -> None:
    """Check the trait ``competes``: the weights of each edge at rest, in float64, sum to 1.

    Raises:
        ValueError: if an edge has an operation in play, and its weights do not sum to 1.
    """
    sum_E = mix.sum(dim=1)
    wrong = keep.any(dim=1) & ((sum_E - 1).abs() > _SUM_ROUNDING)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"the {role.name} {name_of(component)} has the trait competes, so the weights of an edge must sum to 1; "
            f"those of row {row} sum to {float(sum_E[row]):.4g}. Divide by the sum, or declare @traits(competes=False)."
        )


@torch.no_grad()
def check_zeros(role: Role, component: Callable[..., Any], keep: Tensor, end: Moment) -> None:
    """Check the trait ``gives_zeros``: if alpha's entries lie far apart at the end of a run, some weight is exactly 0.

    Raises:
        ValueError: if no operation in play has a weight of 0.
    """
    spread = torch.linspace(0.0, _FAR, keep.shape[1], dtype=torch.float64, device=keep.device)
    mix = weights(role, component, spread.expand(keep.shape).clone(), keep, end)
    if bool((keep.sum(dim=1) > 1).any()) and not bool((keep & (mix == 0)).any()):
        raise ValueError(
            f"the {role.name} {name_of(component)} declares gives_zeros, and entries of alpha from 0 to {_FAR:g} gave "
            "no weight of exactly 0. Leave gives_zeros out, or set the weights outside the support to 0."
        )


def number(role: Role, component: Callable[..., Any], *arguments: object) -> float:
    """The number that a schedule or a control returns.

    Raises:
        ValueError: if it does not return a finite number.
    """
    found = call(role, component, *arguments)
    if not is_number(found):
        refuse(role, component, "a finite number, a float", found)
    return float(found)


def is_number(came: object) -> bool:
    """Whether something is a finite Python number."""
    return isinstance(came, float | int) and math.isfinite(came)
