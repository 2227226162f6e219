"""The scripts of the page: every name that one uses is declared, and every one declared is used."""

from __future__ import annotations

import re
from importlib import resources

import pytest
from script_names import names

from tracer_render.page import SCRIPTS

#: what the browser has, and the scripts before; `of` is a word of `for` where it is no name
GLOBALS = frozenset(
    "Array Blob Boolean CSS DOMRect Date Error Float32Array Float64Array Infinity "
    "Int16Array Int32Array Int8Array Intl JSON Map Math NaN Number Object Path2D Promise RegExp "
    "ResizeObserver Set String Symbol URL "
    "URLSearchParams Uint16Array Uint32Array Uint8Array WeakMap XMLSerializer addEventListener "
    "atob btoa clearTimeout dagre decodeURIComponent document encodeURI encodeURIComponent "
    "getComputedStyle history isFinite isNaN location matchMedia navigator of page parseFloat "
    "parseInt performance queueMicrotask requestAnimationFrame setTimeout structuredClone "
    "window".split()
)
ASSETS = resources.files("tracer_render").joinpath("assets")
TEXTS = {name: ASSETS.joinpath(name).read_text("utf-8") for name in SCRIPTS}


def test_every_script_is_in_the_page():
    there = {each.name for each in ASSETS.iterdir() if each.name.endswith(".js")}
    assert there == {*SCRIPTS, "dagre.min.js"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_names_are_declared_and_used(name):
    used, declared = names(TEXTS[name])
    assert set(used) - declared - GLOBALS == set()
    assert {each for each in declared if used[each] < 2} - {"_"} == set()


def test_what_scripts_share_is_there_and_used():
    everything = "\n".join(TEXTS.values())
    shared = re.findall(r"\bpage\.(\w+)", everything)
    for names_of_it in re.findall(r"const \{ ([\w, ]+) \} = page;", everything):
        shared += names_of_it.split(", ")
    made = {"data", *re.findall(r"\bpage\.(\w+) = ", everything)}
    assert set(shared) - made == set()
    assert {each for each in made if shared.count(each) < 2} == set()


@pytest.mark.parametrize(
    ("script", "undefined", "unused"),
    [
        ("const a = 1; f(a);", {"f"}, set()),
        ("let [a, { b: c, d = e }] = g, h;", {"e", "g"}, {"a", "c", "d", "h"}),
        ("const f = ({ x }, [y], ...z) => `${x + `${w}`}`; f(/a[/]b/.test(y), z);", {"w"}, set()),
        ("class A { b(c) { return this.d; } } for (const [k] of new A()) o.p = { k, q: 1 };",
         {"o"}, {"c"}),
        ("try { a() } catch (e) { b ? c : d }", {"a", "b", "c", "d"}, {"e"}),
        ("const f = x => x / 2 / 3; if (f) { f?.g() } // h", set(), set()),
    ],
)  # fmt: skip
def test_the_check_finds_what_is_wrong(script, undefined, unused):
    used, declared = names(script)
    assert set(used) - declared - {"of"} == undefined
    assert {each for each in declared if used[each] < 2} - {"A"} == unused
