"""How the cells of a net are computed fast; only the engine chooses a backend."""
