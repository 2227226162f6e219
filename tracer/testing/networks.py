"""A small network and its loss, on which a quantity is checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tracer.api.tape import Tape
from tracer.arrays import backend
from tracer.arrays.types import Array, Generator, Shape, Stack
from tracer.cotangents.kronecker import Kronecker
from tracer.curvature.combining import groups, layer_of
from tracer.curvature.quantity import Quantity, Shard, State, Value
from tracer.curvature.shards import unfinished
from tracer.record.axes import Axis
from tracer.record.leaves import batch, parameter
from tracer.record.node import Params
from tracer.record.operation import Operation, operation
from tracer.record.tensor import TensorLike
from tracer.testing.agreement import agree
from tracer.testing.definitions import BruteForce, brute_force


@operation("testing_squared_error")
class SquaredError(Operation):
    """`sum_c (f_nc - y_nc)^2`, `[N]`, of Gaussian likelihood N(f, I/2); draws sample by sample."""

    saves = ("inputs",)
    loss = True

    def forward(f: Any, y: Any) -> Array:
        return np.sum(np.square(f - y), axis=-1)

    def vjp(node: Any, g: Stack) -> tuple[Stack, ...]:
        """g_f[v,n,c] = 2 g[v,n] (f - y)[n,c]; g_y = -g_f."""
        f, y = node.inputs
        slope = 2 * g[..., None] * (f - y)
        return slope, -slope

    def batch_axis(node: Any, axes: Sequence[Axis]) -> Axis:
        return 0

    def sqrt_hessian(node: Any, weight: Array) -> Stack:
        """S_c = sqrt(2 w_n) e_c, a row for each output c."""
        count, outputs = node.inputs[0].shape
        each = np.stack([np.eye(outputs)] * count, axis=1)
        return backend.of(weight).from_host(each) * np.sqrt(2 * weight)[:, None]

    def sqrt_hessian_sampled(node: Any, weight: Array, samples: int, rng: Generator) -> Stack:
        """sqrt(2 w_n / M) times standard normal numbers."""
        count, outputs = node.inputs[0].shape
        noise = np.moveaxis(rng.standard_normal((count, samples, outputs)), 0, 1)
        return backend.of(weight).from_host(noise) * np.sqrt(2 * weight / samples)[:, None]

    def examples(rng: Any) -> list[tuple[tuple[Array, ...], Params]]:
        return [((rng.random((3, 2)), rng.random((3, 2))), {})]


class Network:
    """A network with two layers, its data, and the losses' sum or mean.

    Where its parameters are `of_layers`, they are `first.w`, `first.b` and `second.v`.
    """

    samples = 6

    def __init__(self, mean: bool, of_layers: bool = False):
        rng = np.random.default_rng(1)
        self.mean = mean
        self.names = {"w": "first.w", "b": "first.b", "v": "second.v"} if of_layers else {}
        self.x, self.y = rng.standard_normal((6, 3)), rng.standard_normal((6, 2))
        self.parameters = {
            "w": rng.standard_normal((3, 4)),
            "b": rng.standard_normal(4),
            "v": rng.standard_normal((4, 2)),
        }

    def predict(self, p: Mapping[str, Any], x: TensorLike) -> Any:
        return np.tanh(x @ p["w"] + p["b"]) @ p["v"]

    def swept(
        self, quantity: Quantity, part: slice, budget: int | None, rng: Generator
    ) -> Mapping[str, Value]:
        """What `backward` gives for the quantity and some of the samples."""
        with Tape() as tape:
            p = {
                key: parameter(x, name=self.names.get(key, key))
                for key, x in self.parameters.items()
            }
            losses: Any = SquaredError(self.predict(p, batch(self.x[part])), self.y[part])
            loss = np.sum(losses) / (len(losses) if self.mean else 1)
        return tape.backward(loss, (quantity,), memory_budget=budget, rng=rng)[quantity.name]

    def values(self, quantity: Quantity, budget: int | None = None) -> Mapping[str, Value]:
        """By parameter or layer, or of all parameters under an empty name."""
        found = self.swept(quantity, slice(None), budget, np.random.default_rng(2))
        whole = quantity.per == "model" or not isinstance(found, Mapping)
        return {"": found} if whole else found

    def merged(self, quantity: Quantity, ends: Sequence[int]) -> dict[str, Value]:
        """Values of the union of shards that end at these samples, from their states."""
        rng, kept = np.random.default_rng(2), unfinished(quantity)
        states: dict[str, State] = {}
        begin = 0
        for end in ends:
            part = self.swept(kept, slice(begin, end), None, rng)
            counts = (begin, end - begin)
            first, second = (Shard(n, n / end if self.mean else 1.0) for n in counts)
            for name, found in part.items():
                state = found.state
                if begin:
                    state = quantity.merge(states[name], state, (first, second))
                states[name] = state
            begin = end
        values = {
            name: quantity.finish(states[name], found.context._replace(samples=self.samples))
            for name, found in part.items()
        }
        if quantity.per == "parameter":
            return values
        return {
            group: quantity.combine({name: values[name] for name in names})
            for group, names in groups(quantity, values).items()
        }

    def shape(self, name: str) -> Shape:
        """Of a parameter; of those of a layer, or all, one after the other, a vector's."""
        keys = self._of(name)
        if len(keys) == 1 and name in (keys[0], *self.names.values()):
            return self.parameters[keys[0]].shape
        return (sum(self.parameters[key].size for key in keys),)

    def derivatives(self, name: str) -> BruteForce:
        """Brute force for a parameter, a layer, or all parameters under an empty name."""
        keys, shape = self._of(name), self.shape(name)

        def output(x: Any) -> Any:
            parts = self._split(np.reshape(x, (-1,)), keys)
            return self.predict({**self.parameters, **parts}, self.x)

        weight = 1 / self.samples if self.mean else 1.0
        x = np.concatenate([self.parameters[key].reshape(-1) for key in keys]).reshape(shape)
        error = output(x) - self.y
        return brute_force(
            output,
            2 * weight * error,
            np.full_like(error, math.sqrt(2 * weight)),
            lambda x: weight * np.sum(np.square(output(x) - self.y), axis=1),
            x,
            weight,
        )

    def _of(self, name: str) -> list[str]:
        """The keys of the parameters that a name is of: a parameter's, a layer's, or none."""
        names = {key: self.names.get(key, key) for key in self.parameters}
        return [key for key, own in names.items() if not name or name in (own, layer_of(own))]

    def _split(self, x: Any, keys: Sequence[str]) -> dict[str, Any]:
        """Some parameters, from their elements."""
        parts, start = {}, 0
        for key in keys:
            p = self.parameters[key]
            parts[key] = np.reshape(x[start : start + p.size], p.shape)
            start += p.size
        return parts

    def compare(
        self, what: str, got: Mapping[str, Value], expected: Mapping[str, Value], rtol: float,
        atol: float,
    ) -> None:  # fmt: skip
        for name, value in expected.items():
            shape = self.shape(name)
            for one, other in zip(arrays(got[name], shape), arrays(value, shape), strict=True):
                agree(f"{what}: {name or 'all parameters'}", one, other, rtol, atol)


def arrays(value: Value, shape: Shape) -> list[Array]:
    """The arrays of a value: factors of a Kronecker block, items of a container, a matrix."""
    if isinstance(value, Kronecker):
        return list(value.factors)
    if isinstance(value, Mapping):
        value = [value[key] for key in sorted(value, key=str)]
    if isinstance(value, list | tuple):
        return [array for item in value for array in arrays(item, shape)]
    if hasattr(value, "matmat"):
        return [value.matmat(np.eye(value.shape[1]))]
    if callable(value):
        size = math.prod(shape)
        return [value(np.eye(size).reshape(-1, *shape)).reshape(size, size)]
    return [value]
