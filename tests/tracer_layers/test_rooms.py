"""The rooms of `tracer_layers`: every import points down, and nothing goes round."""

import ast
import importlib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import tracer_layers
from tracer import Operation
from tracer.record.composite import Composite
from tracer_layers.plugin import register_operations

PACKAGE = Path(tracer_layers.__file__).parent

#: rooms and files of the package, from the ground up
ORDER = [
    "module",
    "activations",
    "linear_maps",
    "shape",
    "normalisation",
    "embeddings",
    "convolution",
    "pooling",
    "losses",
    "attention",
    "functional",
    "transformer",
    "recurrent",
    "init",
    "utils",
    "__init__",
    "plugin",
]
#: rooms and files whose functions are called by their names, as `nn.utils.clip_grad_norm_`
NAMESPACES = {
    "utils": tracer_layers.utils,
    "utils/parametrizations": tracer_layers.utils.parametrizations,
    "utils/parametrize": tracer_layers.utils.parametrize,
    "utils/rnn": tracer_layers.utils.rnn,
}
#: kinds of files in a room, from the ground up: the last word of a file's name
KINDS = ["arrays", "operations", "layers", "__init__"]

FILES = {
    path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in PACKAGE.rglob("*.py")
}
ROOM_FILES = sorted(name for name in FILES if "/" in name and not name.endswith("__init__"))


def room(file):
    return file.partition("/")[0]


def kind(file):
    """The place of a file among the kinds, or None for one of another kind."""
    last = file.partition("/")[2]
    last = last if last in KINDS else last.rpartition("_")[2]
    return KINDS.index(last) if last in KINDS else None


def file_of(dotted):
    """The file that a dotted name of this package is: a module, or a package's `__init__`."""
    parts = dotted.split(".")[1:]
    for name in ("/".join(parts), "/".join([*parts, "__init__"])):
        if name in FILES:
            return name
    return None


def imported(file, text):
    """The files of this package that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if room_of_name(alias.name):
                    yield file_of(alias.name)
        elif isinstance(node, ast.ImportFrom):
            around = ["tracer_layers", *file.split("/")][: -node.level] if node.level else []
            source = ".".join([*around, *filter(None, [node.module])])
            if room_of_name(source):
                for alias in node.names:
                    yield file_of(f"{source}.{alias.name}") or file_of(source)


def room_of_name(dotted):
    return dotted.partition(".")[0] == "tracer_layers"


ARROWS = {
    (file, other)
    for file, path in FILES.items()
    for other in imported(file, path.read_text(encoding="utf-8"))
}


def points_up(file, other):
    """Whether an import is of a higher room, or of a higher kind in the same."""
    if room(file) != room(other):
        return ORDER.index(room(file)) < ORDER.index(room(other))
    low, high = kind(file), kind(other)
    if other.endswith("__init__"):
        return True
    return low is not None and high is not None and low < high


def circle(arrows):
    graph = {}
    for file, other in arrows:
        graph.setdefault(file, set()).add(other)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return " -> ".join(reversed(error.args[1]))
    return None


def test_every_room_has_its_place():
    assert {room(file) for file in FILES} == set(ORDER)


def test_every_import_points_down():
    wrong = [f"{file} -> {other}" for file, other in sorted(ARROWS) if points_up(file, other)]
    assert wrong == []


def test_no_files_import_each_other_in_a_circle():
    assert circle(ARROWS) is None


def test_no_rooms_import_each_other_in_a_circle():
    between = {(room(file), room(other)) for file, other in ARROWS}
    assert circle({(one, other) for one, other in between if one != other}) is None


@pytest.mark.parametrize(
    ("file", "text", "found"),
    [
        ("shape/padding", "from tracer_layers.pooling.layers import MaxPool1d", "pooling/layers"),
        ("shape/padding", "def f():\n    import tracer_layers.plugin", "plugin"),
        ("module/naming", "if TYPE_CHECKING:\n    from . import module", "module/module"),
        ("module/naming", "from ..losses import loss", "losses/loss"),
        ("module/naming", "from tracer_layers import functional", "functional"),
        ("module/naming", "from tracer_layers import Linear", "__init__"),
        ("convolution/operations", "from .layers import Conv1d", "convolution/layers"),
        ("convolution/arrays", "from tracer_layers.convolution import *", "convolution/__init__"),
    ],
)
def test_imports_are_found_wherever_they_are(file, text, found):
    assert list(imported(file, text)) == [found]


def test_arrows_that_point_up_are_found():
    assert points_up("shape/padding", "pooling/layers")
    assert points_up("convolution/operations", "convolution/layers")
    assert points_up("convolution/arrays", "convolution/__init__")
    assert not points_up("pooling/layers", "shape/padding")
    assert circle({("a", "b"), ("b", "a"), ("b", "c")}) in ("a -> b -> a", "b -> a -> b")


@pytest.mark.parametrize("file", ROOM_FILES)
def test_what_a_file_adds_is_taken_over_from_there(file):
    """A layer, a function and an operation are added in one file."""
    module = importlib.import_module("tracer_layers." + file.replace("/", "."))
    above = NAMESPACES.get(file) or NAMESPACES.get(room(file)) or tracer_layers
    assert {*getattr(module, "__all__", ())} <= {*above.__all__}
    defined = {
        value.name
        for value in vars(module).values()
        if isinstance(value, Operation) and type(value).__module__ == module.__name__
        if not isinstance(value, Composite)  # which stand for operations that are registered
    }
    assert defined <= {op.name for op in register_operations()}
