"""The site as it is built: it loads nothing from elsewhere, and its formulas are typeset."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from pages import PAGES, ROOT, markdown

for needed in ("material", "mkdocstrings", "latex2mathml"):
    pytest.importorskip(needed, reason="needs pip install 'trace-net[docs]'")

pytestmark = pytest.mark.slow

FOREIGN = re.compile(r"^(https?:)?//")
#: relations of `<link>` that name a page and load nothing
NAMING = {"canonical", "next", "prev", "license", "author"}
URL = re.compile(r"""url\(\s*["']?([^"')]+)|@import\s+["']([^"']+)""")
FENCED = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
CODE_SPAN = re.compile(r"`[^`\n]+`")
FORMULA = re.compile(r"\$\$.+?\$\$|\$[^$\n]+\$", re.DOTALL)


class Loaded(HTMLParser):
    """What a browser loads for a page: sources of elements, links that are no names, styles."""

    def __init__(self):
        super().__init__()
        self.urls = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.urls += [given[name] for name in ("src", "data", "poster") if given.get(name)]
        self.urls += [part.split()[0] for part in (given.get("srcset") or "").split(",") if part]
        if tag == "link" and not NAMING & set((given.get("rel") or "").split()):
            self.urls.append(given["href"])
        self.urls += in_css(given.get("style") or "")


def in_css(text):
    return [first or second for first, second in URL.findall(text)]


def loaded(text):
    parser = Loaded()
    parser.feed(text)
    styles = re.findall(r"<style[^>]*>(.*?)</style>", text, re.DOTALL)
    return parser.urls + [url for style in styles for url in in_css(style)]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    command = "-m mkdocs build --strict --quiet -f .mkdocs.yml -d".split()
    subprocess.run(
        [sys.executable, *command, str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        check=True,
    )
    return folder


def test_what_would_be_loaded_from_elsewhere_is_found():
    page = """
        <link rel="canonical" href="https://here.org"> <a href="https://far.org">far</a>
        <link rel="stylesheet" href="https://a.org/x.css"> <script src="//b.org/x.js"></script>
        <img srcset="https://c.org/1.png 2x" style="background: url(https://d.org/2.png)">
        <style>@import "https://e.org/y.css";</style>
    """
    hosts = [url.partition("//")[2][0] for url in loaded(page) if FOREIGN.match(url)]
    assert sorted(hosts) == list("abcde")


def test_no_page_loads_anything_from_another_host(site):
    found = {
        str(page.relative_to(site)): foreign
        for page in site.rglob("*.html")
        if (foreign := [u for u in loaded(page.read_text("utf-8")) if FOREIGN.match(u)])
    }
    assert found == {}


def test_no_style_loads_anything_from_another_host(site):
    found = {
        str(style.relative_to(site)): foreign
        for style in site.rglob("*.css")
        if (foreign := [u for u in in_css(style.read_text("utf-8")) if FOREIGN.match(u)])
    }
    assert found == {}


def test_no_page_has_what_the_theme_would_fetch_a_script_for(site):
    pages = [page for page in site.rglob("*.html") if 'class="mermaid"' in page.read_text("utf-8")]
    assert pages == []


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if "$" in CODE_SPAN.sub("", FENCED.sub("", markdown(page)))],
    ids=lambda page: page.stem,
)
def test_every_formula_is_typeset(site, page):
    formulas = FORMULA.findall(CODE_SPAN.sub("", FENCED.sub("", markdown(page))))
    built = site / page.relative_to(ROOT / "docs").with_suffix("") / "index.html"
    text = built.read_text("utf-8")
    typeset = re.findall(r"<math .*?</math>", text, re.DOTALL)
    assert len(typeset) == len(formulas) > 0
    assert not [each for each in typeset if "\\" in each or "merror" in each]
    assert "arithmatex" not in text


def test_the_font_of_formulas_is_served_by_the_site_with_its_licence(site):
    assets = site / "assets"
    style = (assets / "formulas.css").read_text()
    (font,) = in_css(style)
    assert (assets / font).read_bytes()[:4] == b"wOF2"
    assert "SIL OPEN FONT LICENSE" in (assets / "stix-two-math-license.txt").read_text()
