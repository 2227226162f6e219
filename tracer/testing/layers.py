"""The check of a layer."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from tracer import registry
from tracer.api.functional import grad
from tracer.api.tape import Tape
from tracer.arrays.types import Array
from tracer.errors import BatchError, QuantityError
from tracer.record.leaves import batch
from tracer.testing.agreement import agree
from tracer.testing.definitions import (
    COMPARED,
    DEFINITIONS,
    BruteForce,
    itself,
    of_parameters,
)
from tracer.testing.derivatives import numerical_jacobian
from tracer.testing.networks import SquaredError, arrays
from tracer.testing.report import Report
from tracer.testing.states import check_state

#: rows whose references read first derivatives of the outputs, and no others
FIRST_ORDER = ("gradient", "ggn_exact", "ggn_outputs", "jacobian")


def check_layer(
    layer: Any, *inputs: Array, axis: int = 0, rtol: float = 1e-6, atol: float = 1e-7
) -> Report:
    """Check a module at inputs whose samples lie along `axis`, in float64.

    Against numerical derivatives of its output: gradients by parameters and inputs of floats, and
    every quantity of first derivatives that brings a reference; where it couples samples, those
    that exist. Besides: a copy that loads its `state_dict` is the same, also after a
    call in training mode, and single precision stays that. Of an output of several tensors, the
    first counts. A layer that draws random numbers is checked in evaluation mode (`layer.eval()`).
    """
    layer = copy.deepcopy(layer).double()
    title = f"layer {type(layer).__name__}"
    inputs = tuple(x.astype(np.float64) if x.dtype.kind == "f" else x for x in inputs)
    probe = _Probe(layer, inputs, axis)
    if not np.array_equal(probe.output(), probe.output()):
        raise AssertionError(f"{title} gives something else each time: check layer.eval()")
    made = {"parameters": "gradients by parameters with numerical ones"}
    missing: dict[str, str] = {}
    parameters = dict(layer.named_parameters())
    for name, p in parameters.items():
        definitions = probe.derivatives(p)
        _check_quantities(title, probe, name, definitions, missing, rtol, atol)
    if not parameters:
        del made["parameters"]
        missing["parameters"] = "it has none"
    elif registered := [n for n in _first_order() if n != "grad" and n not in missing]:
        made["quantities"] = f"{', '.join(registered)} with reference(brute)"
    if any(x.dtype.kind == "f" for x in inputs):
        probe.check_inputs(title, rtol, atol)
        made["inputs"] = "gradients by inputs with numerical ones"
    else:
        missing["inputs"] = "none of them are floats"
    missing |= check_state(title, layer, probe.output_of)
    made["state_dict"] = "parameters, buffers and output of a copy that loaded it with the layer's"
    narrow = _Probe(layer.float(), tuple(map(_single, inputs)), axis).output()
    if narrow.dtype != np.float32:
        raise AssertionError(f"{title}: float32 parameters and inputs give {narrow.dtype}")
    made["single precision"] = "the dtype of its output with that of parameters and inputs"
    return Report(made, missing, is_defined=True)


class _Probe:
    """A layer at its inputs. Its objective is the sum of the squares of its output."""

    def __init__(self, layer: Any, inputs: tuple[Array, ...], axis: int):
        self.layer, self.inputs, self.axis = layer, inputs, axis

    def called(self, *inputs: Any) -> Any:
        """`[N, C]`."""
        output = self.layer(*inputs)
        while isinstance(output, tuple | list):
            output = output[0]
        moved = np.moveaxis(output, min(self.axis, output.ndim - 1), 0)
        return np.reshape(moved, (moved.shape[0], -1))

    def output(self) -> Array:
        output = self.called(*self.inputs)
        return np.asarray(getattr(output, "data", output))

    def output_of(self, layer: Any) -> Array:
        """Of another layer at the same inputs."""
        return _Probe(layer, self.inputs, self.axis).output()

    def swept(self, name: str) -> Mapping[str, Any]:
        with Tape() as tape:
            given = [batch(x, axis=self.axis) for x in self.inputs]
            output = self.called(*given)
            losses: Any = SquaredError(output, np.zeros(output.shape))
            loss = np.sum(losses)
        parameters = dict(self.layer.named_parameters())
        found = tape.backward(loss, (name,), parameters=list(parameters.values()))[name]
        return {own: found[p] for own, p in parameters.items() if p in found}

    def derivatives(self, parameter: Any) -> BruteForce:
        """Of one parameter, by differences of the output."""
        value = parameter.data

        def at(x: Array) -> Array:
            parameter.data = x
            try:
                return self.output()
            finally:
                parameter.data = value

        output, (slope, _) = self.output(), numerical_jacobian(at, value)
        return BruteForce(slope, 2 * output, np.full_like(output, np.sqrt(2.0)))

    def check_inputs(self, title: str, rtol: float, atol: float) -> None:
        floats = [i for i, x in enumerate(self.inputs) if x.dtype.kind == "f"]

        def objective(*given: Any) -> Any:
            inputs = list(self.inputs)
            for place, x in zip(floats, given, strict=True):
                inputs[place] = x
            return np.sum(np.square(self.called(*inputs)))

        given = [self.inputs[i] for i in floats]
        found = grad(objective, tuple(range(len(floats))))(*given)
        for place, (i, got) in enumerate(zip(floats, found, strict=True)):

            def of_one(x: Array, place: int = place) -> Array:
                value = objective(*given[:place], x, *given[place + 1 :])
                return np.asarray(getattr(value, "data", value))

            expected, _ = numerical_jacobian(of_one, given[place])
            agree(f"{title}: the gradient by input {i}", got, expected, rtol, atol)


def _first_order() -> list[str]:
    """The quantities whose references read no second derivatives."""
    return [
        name
        for name in of_parameters()
        if getattr(registry.quantities[name].rows, "name", None) in FIRST_ORDER
    ]


def _check_quantities(
    title: str,
    probe: _Probe,
    parameter: str,
    definitions: BruteForce,
    missing: dict[str, str],
    rtol: float,
    atol: float,
) -> None:
    for name in _first_order():
        if name in missing:
            continue
        try:
            found, reference = probe.swept(name), DEFINITIONS[name](definitions)
        except (BatchError, QuantityError) as error:
            missing[name] = str(error).partition(": use ")[0]
            continue
        if parameter not in found:
            missing[name] = f"{parameter} has none"
            continue
        compared = COMPARED.get(name, itself)
        shape = definitions.jacobians.shape[2:]
        got = arrays(compared(found[parameter]), shape)
        expected = arrays(compared(reference), shape)
        for one, other in zip(got, expected, strict=True):
            agree(f"{title}: {name} of {parameter}", one, other, rtol, atol)


def _single(x: Array) -> Array:
    return x.astype(np.float32) if x.dtype.kind == "f" else x
