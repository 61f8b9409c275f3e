"""What the site has beside the pages of docs/, and what their Markdown needs to become HTML without a network.

README, changelog and the like become pages as they are; every setting and the API pages are made of the source.
"""

import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs import configuration

ROOT = Path(__file__).resolve().parents[1]
AS_THEY_ARE = {"README.md": "index.md", "CHANGELOG.md": "CHANGELOG.md", "CONTRIBUTING.md": "CONTRIBUTING.md"}
"""Pages that lie outside of docs/, and what they are called on the site."""
SETTINGS = "CONFIGURATION.md"
PACKAGES = ("ops", "losses", "nn", "models", "metrics", "checkpoints", "saliency", "data", "engine")
"""Of eps, from the equations up; verbs are commands, told of by `--help` and the guides."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is not in docs/."""
    pages = {name: from_root((ROOT / path).read_text(encoding="utf-8")) for path, name in AS_THEY_ARE.items()}
    pages |= {f"api/{package}.md": api_page(package) for package in PACKAGES}
    examples = {f"examples/{path.name}": path.read_text(encoding="utf-8") for path in (ROOT / "examples").glob("*.py")}
    for name, content in (pages | examples).items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Formulas become MathML, which needs no script; the settings come to their page."""
    settings = f"\n\n{configuration.text()}" if page.file.src_uri == SETTINGS else ""
    return with_formulas(inside(markdown)) + settings


def inside(markdown: str) -> str:
    """Links that lead out of docs/ on the disk stay on the site; those to source that it has not are no links there."""
    markdown = re.sub(r"\[([^\]]*)\]\(\.\./(?:conf|eps)/[^)]*\)", r"`\1`", markdown)
    return markdown.replace("](../examples/", "](examples/").replace("](../README.md", "](index.md")


def from_root(text: str) -> str:
    """Markdown of the root as a page beside those of docs/."""
    return text.replace("](docs/", "](")


def api_page(package: str) -> str:
    """The modules of a package, one after the other: mkdocstrings puts in what their docstrings say."""
    folder = ROOT / "eps" / package
    files = sorted(path for path in folder.rglob("*.py") if path.name != "__init__.py")
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]
    return "\n\n".join([f"# eps.{package}", *(f"::: {module}" for module in modules)]) + "\n"


def with_formulas(markdown: str) -> str:
    """`$...$` in running text as MathML; what stands in code is none."""
    lines, fenced = [], False
    for line in markdown.split("\n"):
        fenced ^= line.lstrip().startswith("```")
        lines.append(line if fenced or line.startswith("    ") else _formulas(line))
    return "\n".join(lines)


def _formulas(line: str) -> str:
    parts = re.split(r"(`[^`]*`)", line)
    return "".join(
        part if part.startswith("`") else re.sub(r"\$([^$]+)\$", lambda found: convert(found[1]), part)
        for part in parts
    )
