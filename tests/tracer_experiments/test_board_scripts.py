"""The scripts of the board: what one uses is declared, and what is declared is used."""

import re
from importlib import resources

import numpy as np
import pytest
from script_names import names

from tracer_experiments.board.page import SCRIPTS

#: what the browser has, and the scripts before; `of` is a word of `for` where it is no name
GLOBALS = frozenset(
    "Array Blob CSS DataView Date Error Event EventSource Float32Array Float64Array Infinity "
    "IntersectionObserver JSON Map Math NaN Number Object Promise RegExp ResizeObserver Set String "
    "TextDecoder TypeError URL URLSearchParams Uint8Array WeakMap addEventListener atob Boolean "
    "clearTimeout devicePixelRatio document fetch getComputedStyle history innerHeight innerWidth "
    "localStorage location matchMedia of page parseInt performance requestAnimationFrame "
    "setInterval setTimeout undefined".split()
)
ASSETS = resources.files("tracer_experiments.board").joinpath("assets")
TEXTS = {name: ASSETS.joinpath(name).read_text("utf-8") for name in SCRIPTS}


def test_every_script_is_in_the_page():
    assert {each.name for each in ASSETS.iterdir() if each.name.endswith(".js")} == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_names_are_declared_and_used(name):
    used, declared = names(TEXTS[name])
    assert set(used) - declared - GLOBALS == set()
    assert {each for each in declared if used[each] < 2} - {"_", "page"} == set()


def test_what_scripts_share_is_there_and_used():
    everything = "\n".join(TEXTS.values())
    shared = re.findall(r"\bpage\.(\w+)", everything)
    for names_of_it in re.findall(r"const \{ ([\w, ]+) \} = page;", everything):
        shared += names_of_it.split(", ")
    made = {"data", *re.findall(r"\bpage\.(\w+) (?:\+|-)?= ", everything)}
    assert set(shared) - made == set()
    assert {each for each in made if shared.count(each) < 2} - {"data"} == set()


READS_HTML = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|srcdoc"


def test_no_script_makes_elements_of_text():
    """Names of runs and series may be HTML: nothing that reads it is ever called."""
    assert [name for name, text in TEXTS.items() if re.search(READS_HTML, text)] == []


# -- colours -------------------------------------------------------------------------------------

#: linear RGB to the responses of cones, and their cube roots to OKLab (Ottosson 2020)
TO_CONES = np.array([[0.4122214708, 0.5363325363, 0.0514459929],
                     [0.2119034982, 0.6806995451, 0.1073969566],
                     [0.0883024619, 0.2817188376, 0.6299787005]])  # fmt: skip
TO_LAB = np.array([[0.2104542553, 0.7936177850, -0.0040720468],
                   [1.9779984951, -2.4285922050, 0.4505937099],
                   [0.0259040371, 0.7827717662, -0.8086757660]])  # fmt: skip
#: linear RGB as one sees it who lacks the cones for green (Machado, Oliveira and Fernandes 2009)
WITHOUT_GREEN = np.array([[0.367322, 0.860646, -0.227968],
                          [0.280085, 0.672501, 0.047413],
                          [-0.011820, 0.042940, 0.968881]])  # fmt: skip


def linear(text):
    """`[3]`, linear RGB of `#rrggbb`."""
    c = np.array([int(text[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def distances(colours):
    """The distance in OKLab, times 100, of each pair of linear colours `[n, 3]`."""
    lab = np.cbrt(colours @ TO_CONES.T) @ TO_LAB.T * 100
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    return apart[np.triu_indices(len(lab), 1)]


def contrast(first, second):
    """The contrast of two linear colours, from 1 to 21, as WCAG has it."""
    low, high = sorted(float(each @ [0.2126, 0.7152, 0.0722]) for each in (first, second))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("name", "paper"), [("LIGHT", "#ffffff"), ("DARK", "#14181f")])
def test_twelve_runs_have_colours_that_differ(name, paper):
    (listed,) = re.findall(rf"const {name} = \[(.*?)\]", TEXTS["colours.js"])
    assert f"--paper: {paper}" in ASSETS.joinpath("page.css").read_text("utf-8")
    colours = np.array([linear(text) for text in re.findall(r"#\w{6}", listed)])
    assert len(colours) == 12
    assert distances(colours).min() > 13
    assert distances(np.clip(colours @ WITHOUT_GREEN.T, 0, 1)).min() > 8
    assert min(contrast(colour, linear(paper)) for colour in colours) > 3
