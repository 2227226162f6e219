"""Values of a layer's parameters, or of all of them, as one value.

A quantity says `per = "layer"` or `per = "model"`. Its parameters have values as those of any
other, and `combine` makes one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from tracer.arrays.ownership import unaliased
from tracer.curvature.quantity import Quantity, Value
from tracer.curvature.undefined import Undefined
from tracer.curvature.values import LayerValues, raw_value
from tracer.errors import QuantityError
from tracer.record.node import Node


def layer_of(name: str) -> str:
    """The path of the module that holds a parameter: `h.0` of `h.0.weight`, "" of `weight`."""
    return name.rpartition(".")[0]


def groups(quantity: Quantity, names: Iterable[str]) -> dict[str, list[str]]:
    """Which parameters have a value in common: by layer, or all under an empty name."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(layer_of(name) if quantity.per == "layer" else "", []).append(name)
    return found


def combined(
    quantity: Quantity,
    values: dict[str, Value],
    undefined: Undefined,
    reduce: Callable[[str, Value], Value] | None,
    recorded: bool,
) -> Value:
    """The value of all parameters, or those of layers, of `values` by parameter, which it takes.

    Undefined for one parameter, it is so for all that it is of.
    """
    leaves = {name: leaf for leaf, name in undefined.names.items()}
    found: dict[str, Value] = {}
    for group, names in groups(quantity, leaves).items():
        some = [leaves[name] for name in names]
        if _is_left_out(quantity, group, some, undefined):
            continue
        try:
            value = [quantity.combine({name: values.pop(name) for name in names})]
        except QuantityError as error:
            undefined.add(quantity, some[0], error)
            _is_left_out(quantity, group, some, undefined)
            continue
        if not recorded:
            value[0] = raw_value(value[0], np.result_type(*(leaf.dtype for leaf in some)))
        found[group] = unaliased(value) if reduce is None else reduce(group, unaliased(value))
    if quantity.per == "model":
        return found.get("")
    return LayerValues(found, _absent(quantity, found, undefined))


def _is_left_out(
    quantity: Quantity, group: str, leaves: Sequence[Node], undefined: Undefined
) -> bool:
    """Whether some parameter has no value. Then none of those that it would be one with has."""
    lacking = next((leaf for leaf in leaves if undefined.has(quantity, leaf)), None)
    if lacking is None:
        return False
    error = undefined.errors[quantity.name][lacking]
    whole = f"the layer {group!r}" if quantity.per == "layer" else "all parameters"
    why = QuantityError(
        f"{undefined.why(quantity.name, lacking, error)} (its value is of {whole}: parameters= "
        f"leaves some out)"
    )
    undefined.errors[quantity.name].update(dict.fromkeys(leaves, why))
    return True


def _absent(quantity: Quantity, found: Mapping[str, Value], undefined: Undefined) -> dict[str, str]:
    """layer -> why it has no value."""
    absent: dict[str, str] = {}
    for name, why in undefined.absent(quantity.name).items():
        if (layer := layer_of(name)) not in found:
            absent.setdefault(layer, why)
    return absent
