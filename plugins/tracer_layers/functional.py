"""The functions of layers and losses, named as in `torch.nn.functional`."""

import functools
import sys
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any

from tracer.extend import without_torch
from tracer_layers import (
    activations,
    attention,
    convolution,
    embeddings,
    linear_maps,
    losses,
    normalisation,
    pooling,
    shape,
)
from tracer_layers.module import hints
from tracer_layers.module.arguments import blame_arguments

if TYPE_CHECKING:  # what editors see; here are the functions among it, as `_of_arrays` makes them
    from tracer_layers.activations import *
    from tracer_layers.attention import *
    from tracer_layers.convolution import *
    from tracer_layers.embeddings import *
    from tracer_layers.linear_maps import *
    from tracer_layers.losses import *
    from tracer_layers.normalisation import *
    from tracer_layers.pooling import *
    from tracer_layers.shape import *

ROOMS = (
    activations,
    attention,
    convolution,
    embeddings,
    linear_maps,
    losses,
    normalisation,
    pooling,
    shape,
)


def _of_arrays(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which says so where an argument has to be an array and is none."""

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        if "torch" in sys.modules:
            args, options = without_torch(args), without_torch(options)
        try:
            return function(*args, **options)
        except AttributeError as error:
            blame_arguments(name, error, (*args, *options.values()))
            raise

    call.__module__, call.__qualname__ = __name__, name  # where pickles find it
    return call


_functions = {
    name: _of_arrays(name, value)
    for room in ROOMS
    for name in room.__all__
    if isinstance(value := vars(room)[name], FunctionType)
}
globals().update(_functions)

__all__ = sorted(_functions)


def __getattr__(name: str) -> Any:
    raise hints.no_function(name, __all__)
