"""Parameters and buffers by PyTorch's names, and modules that hold them."""

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.errors import TracerError, TracingError


def test_a_parameter_is_one_of_tracer():
    made = nn.Parameter(np.ones(3, np.float32))
    assert type(made) is tracer.Tensor
    assert isinstance(made, nn.Parameter)
    assert made.requires_grad
    assert not nn.Parameter(np.ones(3), requires_grad=False).requires_grad
    assert nn.Parameter().shape == (0,)
    assert not isinstance(np.ones(3), nn.Parameter)
    assert not isinstance(tracer.Tensor(np.ones(3)), nn.Parameter)
    with pytest.raises(TracingError, match="of a float dtype"):
        nn.Parameter(np.arange(3))


def test_parameters_are_counted_by_their_class_as_scripts_do():
    model = nn.Linear(2, 3)
    assert sum(isinstance(v, nn.Parameter) for v in vars(model).values()) == 2


class Counting(nn.Module):
    def __init__(self):
        self.mean = nn.Buffer(np.zeros(2))
        self.seen = nn.Buffer(np.zeros(1), persistent=False)


def test_a_buffer_is_registered_where_it_is_assigned():
    module = Counting()
    assert type(module.mean) is np.ndarray
    assert [name for name, _ in module.named_buffers()] == ["mean", "seen"]
    assert list(module.state_dict()) == ["mean"]
    module.mean = np.ones(2)
    assert list(module.state_dict()["mean"]) == [1, 1]


def test_a_buffer_takes_the_place_of_what_had_its_name():
    module = Counting()
    module.plain = 3
    module.plain = nn.Buffer(np.ones(4), persistent=False)
    module.mean = nn.Buffer(np.ones(5), persistent=False)
    module.weight = nn.Parameter(np.ones(1))
    assert len(list(module.parameters())) == 1
    module.weight = nn.Buffer(np.ones(6))
    assert {n: b.size for n, b in module.named_buffers()} == {
        "mean": 5, "seen": 1, "plain": 4, "weight": 6,
    }  # fmt: skip
    assert list(module.state_dict()) == ["weight"]
    assert list(module.parameters()) == []
    with pytest.raises(TracerError, match=r"mean is a buffer: give an array or None, not 'a'"):
        module.mean = nn.Buffer("a")


def test_lists_grow_in_place():
    module = nn.ParameterList()
    before = module
    module += [np.ones(2), np.ones(3)]
    assert module is before
    assert [p.size for p in module] == [2, 3]
    assert [p.size for p in module[::-1]] == [3, 2]
    assert module[-1].size == 3
    assert module[::-1][0] is module[1]
    with pytest.raises(IndexError):
        module[2]


def test_dictionaries_give_what_is_there():
    module = nn.ParameterDict({"a": np.ones(2)})
    assert module.get("a") is module["a"]
    assert module.get("b") is None
    assert module.setdefault("b", np.ones(3)) is module["b"]
    assert module.setdefault("a", np.ones(3)).size == 2
    assert [(key, p.size) for key, p in module.items()] == [("a", 2), ("b", 3)]
    del module["a"]
    with pytest.raises(KeyError):
        del module["a"]
    module.clear()
    assert len(module) == 0


@pytest.mark.parametrize(("plain", "remedy"), [(list, "ParameterList"), (dict, "ParameterDict")])
def test_a_plain_container_is_warned_of_with_what_to_write(plain, remedy):
    class Model(nn.Module):
        def __init__(self, made):
            self.scales = made

        def forward(self, x):
            return x * self.scales[0]

    def swept(model):
        with tracer.Tape() as tape:
            loss = model(np.ones((2, 3))).sum()
        return tape.backward(loss)["grad"]

    parameters = {0: tracer.parameter(np.ones(3))}
    with pytest.warns(UserWarning, match=rf"is a plain {plain.__name__}: .* Write nn\.{remedy} in"):
        swept(Model(parameters if plain is dict else [parameters[0]]))
    assert set(swept(Model(nn.ParameterList(parameters.values())))) == {"scales.0"}


def test_dictionaries_of_parameters_are_joined_copied_and_emptied():
    first = nn.ParameterDict({"b": np.ones(2), "a": np.zeros(1)})
    second = nn.ParameterDict({"c": np.ones(3)})
    assert [*first.copy()] == [*first] == ["a", "b"]
    assert first.copy()["a"] is first["a"]
    joined = first | second
    assert [*joined] == ["a", "b", "c"]
    assert joined["c"] is second["c"]
    assert [*reversed(joined)] == ["c", "b", "a"]
    assert [*({"d": np.ones(1)} | first)] == ["d", "a", "b"]
    joined |= {"e": np.ones(1)}
    name, parameter = joined.popitem()
    assert name == "e"
    assert parameter.shape == (1,)
    made = first.fromkeys(["x", "y"], np.ones(2))
    assert made["x"] is not made["y"]
    with pytest.raises(KeyError):
        nn.ParameterDict().popitem()
