"""Names that a model may have, and modules of this library have for something else."""

import copy
import inspect
import pickle

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer_import.module import Imported, imported
from tracer_import.program import Held, Input, Node, Program, Scope, Value

#: attributes of modules, and of imported ones: methods, properties, and what stands on instances
NAMES = sorted(
    name for name in {*dir(Imported), *vars(nn.Module()), "program", "_constants"}
    if not name.startswith("__")
)  # fmt: skip


def named(name):
    """`(x * name) * name.name + name.buffer`, each under these names."""
    model = Program(
        inputs=(Input("x", "x"),),
        held=(
            Held("a", f"{name}.{name}", np.full(3, 2.0), "parameter"),
            Held("b", "inner.weight", np.full(3, 3.0), "parameter"),
            Held("c", f"inner.{name}", np.full(3, 4.0), "buffer"),
        ),
        nodes=(
            Node("aten.mul.Tensor", (Value("x"), Value("a")), {}, ("y",), (Scope(name, "Scale"),)),
            Node("aten.mul.Tensor", (Value("y"), Value("b")), {}, ("z",), (Scope("inner", "Net"),)),
            Node("aten.add.Tensor", (Value("z"), Value("c")), {}, ("w",), (Scope("inner", "Net"),)),
            Node("aten.add.Tensor", (Value("c"), 1.0), {}, ("d",)),
        ),
        outputs=(Value("w"),),
        mutations={f"inner.{name}": "d"},
        arguments=(None,),
        argument_names=("x",),
        modules={"": "Net", name: "Scale", "inner": "Net"},
    )
    return imported(model)


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_kept_in_the_state_and_attributes_are_those_of_the_class(name, tmp_path):
    model, x = named(name), np.ones((2, 3))
    paths = [f"{name}.{name}", "inner.weight"]
    assert [path for path, _ in model.named_parameters()] == paths
    assert list(model.state_dict()) == [*paths, f"inner.{name}"]
    assert name in [path for path, _ in model.named_modules()]
    plain = inspect.getattr_static(Imported, name, None)
    if inspect.isfunction(plain):
        assert getattr(model, name).__func__ is plain
    with tracer.Tape() as tape:
        loss = np.sum(model(x))
    np.testing.assert_array_equal(tape.backward(loss)["grad"][paths[0]], np.full(3, 6.0))
    np.testing.assert_array_equal(model.get_submodule("inner").get_buffer(name), np.full(3, 5.0))
    for other in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert list(other.state_dict()) == [*paths, f"inner.{name}"]
        np.testing.assert_array_equal(model.get_parameter(paths[0]).data, np.full(3, 2.0))
    other.load_state_dict({key: 2 * value for key, value in model.state_dict().items()})
    np.testing.assert_array_equal(other.get_parameter(paths[0]).data, np.full(3, 4.0))
    np.testing.assert_array_equal(model.get_parameter(paths[0]).data, np.full(3, 2.0))
    nn.Module.save(model, tmp_path / "state.safetensors")
    nn.Module.load(other, tmp_path / "state.safetensors")
    np.testing.assert_array_equal(other.get_submodule("inner").get_buffer(name), np.full(3, 5.0))
    model.float().train().eval()
    assert model.get_parameter(paths[0]).dtype == np.float32
    assert model.get_submodule("inner").get_buffer(name).dtype == np.float32
    assert not model.get_submodule(name).training


def test_what_is_assigned_of_its_kind_takes_its_place():
    model = named("save")
    inner = model.get_submodule("inner")
    inner.save = np.zeros(3)
    np.testing.assert_array_equal(inner.get_buffer("save"), np.zeros(3))
    new = nn.Linear(3, 3)
    model.set_submodule("save", new)
    assert model.get_submodule("save") is new
    assert [path for path, _ in model.named_parameters()][:2] == ["save.weight", "save.bias"]


def test_modules_of_ones_own_do_not_take_such_names():
    with pytest.raises(tracer.TracerError, match="has an attribute 'draw' already"):
        nn.Module().register_parameter("draw", tracer.parameter(np.ones(2)))
