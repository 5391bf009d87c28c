"""What the site has beyond the pages of this folder: reports that lie beside what they tell of, at their own paths.

Links between the two lead out of this folder in the repository, and stay inside it on the site.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
REPORTS = [path.relative_to(ROOT) for path in (ROOT / "benchmarks/README.md", *ROOT.glob("experiments/*/README.md"))]
PICTURES = [path.relative_to(ROOT) for path in ROOT.glob("experiments/*/plots/*.svg")]


def on_config(config: MkDocsConfig) -> None:
    """Put every method's page, and every report, into the menu."""
    methods = sorted(path.name for path in (ROOT / "docs/methods").glob("*.md") if path.name != "README.md")
    _section(config, "Methods").extend({name.removesuffix(".md"): f"methods/{name}"} for name in methods)
    _section(config, "Speed and results").extend(path.as_posix() for path in sorted(REPORTS))


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Take the reports, and the pictures that they show, from where they are."""
    for path in (*REPORTS, *PICTURES):
        files.append(File.generated(config, path.as_posix(), abs_src_path=str(ROOT / path)))


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Let links between this folder and the rest of the repository lead to where the site has both."""
    path = page.file.src_uri
    up = "../" * path.count("/")
    if Path(path) in REPORTS:
        return markdown.replace(f"]({up}docs/", f"]({up}")
    return re.sub(rf"\]\(\.\./{up}(benchmarks|experiments)/", rf"]({up}\1/", markdown)


def _section(config: MkDocsConfig, title: str) -> list[Any]:
    """The pages of a section of the menu."""
    sections = [part[title] for part in config.nav or [] if isinstance(part, dict) and title in part]
    pages: list[Any] = sections[0]
    return pages
