"""Methods: a published method is a value that names its components.

Compose your own with ``dataclasses.replace``::

    replace(darts, name="mine", weighting=partial(weighting.entmax, order=1.5), level=level.single)
"""

# Star imports, so that a new method is exported without a list, and type checkers see it.
from diffnas.method.annealed import *  # noqa: F403
from diffnas.method.dense import *  # noqa: F403
from diffnas.method.drawn import *  # noqa: F403
from diffnas.method.entmax import *  # noqa: F403
from diffnas.method.gated import *  # noqa: F403
from diffnas.method.geometric import *  # noqa: F403
from diffnas.method.gradients import *  # noqa: F403
from diffnas.method.progressive import *  # noqa: F403
from diffnas.method.record import Method, components
from diffnas.method.selected import *  # noqa: F403
from diffnas.method.sigmoid import *  # noqa: F403
from diffnas.method.stopped import *  # noqa: F403
from diffnas.method.supernets import *  # noqa: F403
from diffnas.method.tables import COMPONENTS, METHODS, component, compose
from diffnas.method.text import describe

__all__ = ["COMPONENTS", "METHODS", "Method", "component", "components", "compose", "describe"]
__all__ += [name.replace("-", "_") for name in METHODS]
