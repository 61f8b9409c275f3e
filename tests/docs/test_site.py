"""The site of `make docs`: strict, complete, and read without a network."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from docs.hooks import AS_THEY_ARE, PACKAGES, api_page, from_root, inside, with_formulas
from tests.documents import DOCS, ROOT

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
"""What a browser fetches of a page by itself, and where from."""


def navigation() -> list[str]:
    def leaves(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        nested = entry.values() if isinstance(entry, dict) else entry
        return [leaf for below in nested for leaf in leaves(below)]  # type: ignore[union-attr]

    content = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    return leaves(content["nav"])


def test_every_page_is_in_the_navigation() -> None:
    made = [*AS_THEY_ARE.values(), *(f"api/{package}.md" for package in PACKAGES)]
    written = [path.name for path in DOCS.glob("*.md")]
    assert sorted(navigation()) == sorted(made + written)


def test_every_package_of_eps_is_documented_but_verbs_and_settings() -> None:
    there = {path.parent.name for path in (ROOT / "eps").glob("*/__init__.py")}
    assert there - set(PACKAGES) == {"schema", "validation", "report_page"} | (there & {"app_page"})


def test_modules_of_a_package() -> None:
    told = api_page("data")
    assert "::: eps.data.voc\n" in told
    assert "::: eps.data.annotations.labelme\n" in told
    assert "__init__" not in told


def test_links_lead_somewhere_in_the_repository() -> None:
    """Not on the site alone: pages are read where they lie, too."""
    linked = 0
    for page in (*ROOT.glob("*.md"), *DOCS.glob("*.md")):
        for address in re.findall(r"\]\(([^)\s#]+)", page.read_text(encoding="utf-8")):
            if "://" not in address:
                assert (page.parent / address).exists(), f"{page.name}: {address}"
                linked += 1
    assert linked > 50


def test_links_to_source_are_none_on_the_site() -> None:
    told = "[a](../conf/) [b](../eps/schema/x.py#y) [c](../README.md#z) [d](../examples/e.py) [f](DATA.md)"
    assert inside(told) == "`a` `b` [c](index.md#z) [d](examples/e.py) [f](DATA.md)"


def test_links_of_the_root() -> None:
    assert from_root("[a](docs/INSTALL.md#docker) docs/LOG.md") == "[a](INSTALL.md#docker) docs/LOG.md"


def test_formulas_are_no_code() -> None:
    text = "a $x$ and `$y$`\n    $z$\n```sh\n$HOME $PWD\n```\n$s^2$, 5 $"
    made = with_formulas(text).split("\n")
    assert re.fullmatch(r"a <math .*<mi>x</mi>.*</math> and `\$y\$`", made[0])
    assert made[1:5] == text.split("\n")[1:5]
    assert made[5].startswith("<math")
    assert made[5].endswith(", 5 $")


class _Loads(HTMLParser):
    """Addresses that a page loads, and its own anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.pictures_without_words = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if address := given.get(LOADED.get(tag, "")):
            self.found.append(address)
        self.pictures_without_words += tag == "img" and not given.get("alt")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "--site-dir", str(folder)]
    # a proxy that is not there: what would be fetched fails
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environment = os.environ | nowhere | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.release
def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(navigation())
    for page in pages:
        loads = _Loads()
        loads.feed(page.read_text(encoding="utf-8"))
        assert loads.found
        assert [address for address in loads.found if "//" in address] == [], page
        assert not loads.pictures_without_words, page
        for address in loads.found:
            if not address.startswith(("data:", "#")):
                place = site / address.lstrip("/") if address.startswith("/") else page.parent / address
                assert place.resolve().exists(), f"{page}: {address}"
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"url\([\"']?(?:https?:)?//[^)]*|@import", styles) == []


@pytest.mark.slow
@pytest.mark.release
def test_what_is_made_is_there(site: Path) -> None:
    texts = {
        name: (site / name).read_text(encoding="utf-8") for name in ("index.html", "CONFIGURATION.html", "API.html")
    }
    assert "Photos and, for each, the" in texts["index.html"]
    assert "classifier.pooling_floor" in texts["CONFIGURATION.html"]
    assert "--help classifier" in texts["CONFIGURATION.html"]
    assert 'href="api/ops.html#eps.ops.prototypes.assemble"' in texts["API.html"]
    assert 'id="eps.load"' in texts["API.html"]
    assert (site / "examples" / "opencv_client.py").is_file()
    assert (site / "pipeline.svg").is_file()
    assert not (site / "hooks.py").exists()
    assert (site / "SCALING.html").read_text(encoding="utf-8").count("<math") > 20
