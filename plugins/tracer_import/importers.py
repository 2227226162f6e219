"""What the command line opens models of PyTorch with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tracer.extend import Importer
from tracer_import.examples import example_inputs
from tracer_import.loading import from_torch, load, torch_module


class Programs(Importer):
    """Archives of `torch.export.save`, files of ONNX, and modules and functions of PyTorch's."""

    name = "torch"
    suffixes = (".pt2", ".onnx")
    package = "torch"

    def load(self, path: Path) -> Callable[..., Any]:
        """The model in a file."""
        return load(path)

    def inputs(self, model: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arrays of the program's shapes, always the same."""
        return example_inputs(model.program)

    def convert(
        self, model: Any, inputs: Sequence[Any], keywords: Mapping[str, Any]
    ) -> Callable[..., Any]:
        """A module of PyTorch's, or a function that calls its functions."""
        return from_torch(torch_module(model), tuple(inputs), keywords)

    def arrays(self, value: Any) -> Any:
        """Arrays in place of tensors."""
        if isinstance(value, dict):
            return {key: self.arrays(each) for key, each in value.items()}
        if isinstance(value, tuple | list):
            return type(value)(self.arrays(each) for each in value)
        detach = getattr(value, "detach", None)
        return np.asarray(detach().cpu()) if detach is not None else value
