"""Write the pages beside this file anew, from the methods as they are.

python docs/methods/write.py
"""

from pathlib import Path

from diffnas.method import pages

HEAD = """# The methods

Each is a value made of components; a page says what it is, what others have reported of it, and what to doubt.
`diffnas methods NAME` prints a page, `diffnas methods --table` the table below. "=" is as in `darts`.

"""


def written() -> dict[str, str]:
    """The files of this folder, by name."""
    made = {f"{name}.md": pages.page(name) for name in pages.named()}
    return {"README.md": HEAD + pages.table(), **made}


def main() -> None:
    """Write what changed, and remove the pages of methods that are no more."""
    folder, files = Path(__file__).parent, written()
    for path in folder.glob("*.md"):
        if path.name not in files:
            path.unlink()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
