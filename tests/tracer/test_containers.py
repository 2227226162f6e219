"""Nested containers: taken apart, put together, and matched with others by key."""

import random
import sys
from collections import OrderedDict, defaultdict
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tracer
from tracer.arrays.trees import flatten


class Layer(NamedTuple):
    w: object
    b: object


class Named(dict):
    """A dict whose constructor takes something else."""

    def __init__(self, names):
        self.names = names


class Stack(list):
    def __init__(self, height, *items):
        super().__init__(items)
        self.height = height


class Pair(tuple):
    __slots__ = ()

    def __new__(cls, a, b):
        return super().__new__(cls, (a, b))


class Uncopied(dict):
    def __copy__(self):
        raise RuntimeError


def named():
    made = Named("n")
    made["a"] = 1
    return made


TREES = st.recursive(
    st.integers(),
    lambda trees: st.one_of(
        st.lists(trees, max_size=3),
        st.lists(trees, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=2) | st.integers(), trees, max_size=3),
        st.dictionaries(st.text(max_size=2), trees, max_size=3).map(OrderedDict),
        st.tuples(trees, trees).map(lambda pair: Layer(*pair)),
        st.none(),
    ),
    max_leaves=12,
)


def shuffled(tree, rng):
    """The same with every dict in another order."""
    if isinstance(tree, dict):
        keys = list(tree)
        rng.shuffle(keys)
        return {key: shuffled(tree[key], rng) for key in keys}
    if isinstance(tree, Layer):
        return Layer(*(shuffled(child, rng) for child in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(shuffled(child, rng) for child in tree)
    return tree


@given(TREES)
def test_a_tree_is_put_together_again(tree):
    leaves, structure = flatten(tree)
    built = structure.build(leaves)
    assert built == tree
    assert type(built) is type(tree)
    assert structure.count == len(leaves) == len(structure.paths)


@given(TREES, st.randoms(use_true_random=False))
def test_dicts_are_matched_by_key(tree, rng):
    leaves, structure = flatten(tree)
    assert structure.match(shuffled(tree, rng), "tangent", "primal") == leaves


@given(TREES)
def test_paths_lead_to_the_leaves(tree):
    leaves, structure = flatten(tree)
    assert [eval(f"tree{path}", {"tree": tree}) for path in structure.paths] == leaves


@given(TREES, TREES)
def test_other_structures_are_refused(tree, other):
    _, structure = flatten(tree)
    paths, others = set(structure.paths), set(flatten(other)[1].paths)
    if paths != others:
        with pytest.raises(tracer.ShapeError, match=r"tangent.*primals"):
            structure.match(other, "tangent", "primal")


@pytest.mark.parametrize(
    "tree",
    [
        OrderedDict(b=1, a=2),
        defaultdict(list, a=1),
        named(),
        Stack(7, 1, 2),
        Pair(1, 2),
        Layer(1, {"a": 2}),
    ],
    ids=lambda tree: type(tree).__name__,
)
def test_subclasses_keep_their_kind(tree):
    leaves, structure = flatten(tree)
    built = structure.build([10 * leaf for leaf in leaves])
    assert type(built) is type(tree)
    assert vars_of(built) == vars_of(tree)
    assert flatten(built)[0] == [10 * leaf for leaf in leaves]
    assert structure.build(leaves) == tree


def vars_of(tree):
    return getattr(tree, "__dict__", None), getattr(tree, "default_factory", None)


def test_a_dict_that_cannot_be_copied_becomes_a_plain_one():
    assert type(flatten(Uncopied(a=1))[1].build([2])) is dict


def test_a_structure_holds_no_leaves():
    leaf = np.ones(3)
    before = sys.getrefcount(leaf)
    structure = flatten({"a": [leaf], "b": named(), "c": Stack(1, leaf)})[1]
    assert sys.getrefcount(leaf) == before
    assert structure.count == 3


@pytest.mark.parametrize(
    ("tree", "other", "message"),
    [
        ({"l": {"w": 1}}, {"l": {}}, r"no tangent \['l'\]\['w'\], which the primals have"),
        ({"l": {"w": 1}}, {"l": {"v": 1}}, r"\['l'\]\['w'\].*but one \['l'\]\['v'\]"),
        ({"l": {}}, {"l": {"v": 1}}, r"a tangent \['l'\]\['v'\], which the primals do not"),
        ([1, (2,)], [1, [2]], r"at \[1\] is a tuple of 1 primals, got a list of 1 tangents"),
        ([1, (2, 3)], [1, (2,)], r"at \[1\] is a tuple of 2.*2 tangents, got 1"),
        (Layer(1, 2), (1, 2), "is a Layer of 2 primals, got a tuple"),
        (Layer(1, (2,)), Layer(1, 2), r"at \.b is a tuple of 1 primals, got int"),
        ({"a": 1}, {"a": [1]}, r"at \['a'\] is an array, got a list"),
        ({"a": None}, {"a": 1}, r"at \['a'\] is None, got int"),
        ({"a": 1}, {"a": None}, r"at \['a'\] is an array, got None"),
        ({1: 1}, {"1": 1}, r"\[1\], which the primals have, but one \['1'\]"),
    ],
)
def test_what_does_not_match_is_named(tree, other, message):
    with pytest.raises(tracer.ShapeError, match=message):
        flatten(tree)[1].match(other, "tangent", "primal")


def test_many_keys_are_matched_quickly():
    keys = [str(i) for i in range(20000)]
    order = keys[:]
    random.Random(0).shuffle(order)
    tree, other = dict.fromkeys(keys, 1), dict.fromkeys(order, 2)
    assert flatten(tree)[1].match(other, "tangent", "primal") == [2] * len(keys)
