"""How the cells of a net are computed fast; only the engine chooses a backend."""

from typing import Literal

Asked = Literal["auto", "plain", "cpu", "gpu"]
"""The names of backends that a user may give: "auto" is the fastest one, "plain" is none."""
