"""The house has one way down: every import points to the ground, and nothing goes round."""

import ast
import importlib.util
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("house", ROOT / "docs" / "house.py")
house = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(house)

ARROWS = sorted(house.arrows(house.CORE))
ORDER = list(house.ROOMS)
PLUGINS = [
    *("tracer_layers", "tracer_quantities", "tracer_render", "tracer_training"),
    *("tracer_import", "tracer_native", "tracer_scale"),
]
#: what plugins and the command import from; `plugins`, to list them, is for the command
FACES = {"__init__", "errors", "extend", "functional", "registry", "testing"}


def up(arrow):
    """Whether an import is from a room that stands above."""
    return ORDER.index(house.room(arrow.file)) < ORDER.index(house.room(arrow.other))


def circle(pairs):
    """A circle of arrows as text, or None."""
    graph = {}
    for one, other in pairs:
        graph.setdefault(one, set()).add(other)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return " -> ".join(reversed(error.args[1]))
    return None


def shown(arrow):
    return f"{arrow.file}:{arrow.line} -> {arrow.other}"


def imports_of(path):
    """The dotted names that a file imports, anywhere in it, with their lines."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module, node.lineno


def test_every_file_has_its_room():
    assert {house.room(file) for file in house.files(house.CORE)} == set(ORDER)


def test_every_import_points_down():
    assert [shown(arrow) for arrow in ARROWS if up(arrow)] == []


def test_no_files_import_each_other_in_a_circle():
    assert circle((arrow.file, arrow.other) for arrow in ARROWS) is None


def test_no_rooms_import_each_other_in_a_circle():
    rooms = {(house.room(arrow.file), house.room(arrow.other)) for arrow in ARROWS}
    assert circle((one, other) for one, other in rooms if one != other) is None


def test_the_core_imports_no_plugin_and_not_the_command():
    for path in house.CORE.rglob("*.py"):
        for name, line in imports_of(path):
            assert name.partition(".")[0] not in [*PLUGINS, "trace_net"], f"{path}:{line}"


@pytest.mark.parametrize("package", [*(f"plugins/{name}" for name in PLUGINS), "cli/trace_net"])
def test_plugins_and_the_command_build_on_the_faces_of_the_core(package):
    allowed = FACES | ({"plugins"} if package.startswith("cli") else set())
    wrong = []
    for path in (ROOT / package).rglob("*.py"):
        for name, line in imports_of(path):
            top, _, rest = name.partition(".")
            if top == "tracer" and (rest or "__init__") not in allowed:
                wrong.append(f"{path.relative_to(ROOT)}:{line} -> {name}")
    assert wrong == []


def test_all_that_plugins_build_on_is_named():
    import tracer.extend as extend

    names = {name for name in vars(extend) if not name.startswith("_")}
    assert names == set(extend.__all__)
    for name in extend.__all__:
        assert f"`{name}`" in extend.__doc__


def test_the_picture_is_of_the_imports_as_they_are():
    assert house.PICTURE.read_text(encoding="utf-8") == house.picture(), "python docs/house.py"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def f():\n    from tracer.curvature import terms", ["curvature.terms"]),
        ("if TYPE_CHECKING:\n    from tracer.api.tape import Tape", ["api.tape"]),
        ("import tracer.graph.build", ["graph.build"]),
        ("from tracer import Tensor, errors", ["__init__", "errors"]),
        ("from . import node\nfrom ..arrays import backend", ["arrays.backend", "record.node"]),
    ],
)
def test_imports_are_found_wherever_they_are(tmp_path, text, found):
    package = tmp_path / "tracer"
    for file in house.files(house.CORE).values():
        copy = package / file.relative_to(house.CORE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text("")
    (package / "record" / "axes.py").write_text(text)
    assert sorted(arrow.other for arrow in house.arrows(package)) == found
    assert all(
        up(arrow) == (arrow.other[:5] in ("curva", "api.t", "graph", "__ini"))
        for arrow in house.arrows(package)
    )
