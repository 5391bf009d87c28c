"""How the cells of a net are computed fast; only the engine chooses a backend."""

from typing import Literal

Asked = Literal["auto", "plain", "cpu", "gpu"]
"""What a user may ask for: the fastest, none, or one by name."""
