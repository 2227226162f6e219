"""The scripts of the board: what one uses is declared, and what is declared is used."""

import re
from importlib import resources

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
