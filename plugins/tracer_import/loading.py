"""`load` and `from_torch`: programs from files, and from PyTorch's modules."""

from __future__ import annotations

import inspect
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from tracer.errors import TracerError
from tracer.extend import Tensor
from tracer_import import onnx_files, pt2
from tracer_import.errors import ProgramError
from tracer_import.module import Imported, imported
from tracer_import.sizes import Expression

#: the suffix of a file -> what reads a program from it
READERS = {".onnx": onnx_files.read, ".pt2": pt2.read}

#: what PyTorch's errors say where it cannot export a module, and what to do about it
WAYS = {
    "quantized": "quantised weights have no derivatives: import the model before it is quantised",
    "is not a known type": "let forward take and return tensors in tuples, lists and dicts alone, "
    "as use_cache=False makes models of transformers do",
    "data-dependent": "what branches on values has to be written with torch.where",
    "functorch": "write without torch.func inside of the model what it computes",
    "TensorWrapper": "write without torch.func inside of the model what it computes",
    "fake tensor": "let forward neither write into parameters nor differentiate by itself",
}
OTHERWISE = "change the module until torch.export.export(module, inputs) takes it"


def load(path: str | PathLike[str]) -> Imported:
    """The model in a file that `torch.export.save` wrote, `.pt2`, without PyTorch; or in `.onnx`.

    Nothing in the file is executed. Parameters have PyTorch's names, and those that were shared are
    shared. bfloat16 is read as float32, which is said.

    Raises `ProgramError` for a file that is damaged or holds what cannot be run, with all operators
    that are missing and the lines where they are, and `OSError` for one that is not there.
    """
    path = Path(path)
    reader = READERS.get(path.suffix)
    if reader is None:
        raise ProgramError(
            f"{str(path)!r} has none of the suffixes {', '.join(READERS)}: write a program with "
            f"torch.export.save(torch.export.export(model, inputs), 'model.pt2')"
        )
    if path.exists() and not path.is_file():  # reading a pipe would wait for ever
        raise ProgramError(f"{str(path)!r} is no file, but a folder or a pipe: name a file")
    program = reader(path)
    for note in program.notes:
        print(f"{path.name}: {note}", file=sys.stderr)
    return imported(program)


def from_torch(
    module: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    dynamic: bool | Mapping[str, Any] | Sequence[Any] = True,
) -> Imported:
    """The model that a `torch.nn.Module` is, exported by PyTorch with these example inputs.

    `args` and `kwargs` are tensors, as the module is called with, or arrays, which become of the
    module's dtype where they are of floats. With `dynamic`, the first axis of all of them may have
    any size, where the module allows it; a mapping or sequence says which axes may, as
    `dynamic_shapes` of `torch.export.export` does. The program is that of the module's mode,
    training or evaluation, and its parameters are copies.

    Raises `ProgramError` where PyTorch cannot export the module, or where it has operators that are
    not there.
    """
    torch = _torch(module)
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), None)
    args = tuple(_tensors(torch, value, dtype) for value in _as_tuple(args))
    kwargs = {name: _tensors(torch, value, dtype) for name, value in (kwargs or {}).items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{type(module).__name__}.pt2"
        _export(torch, path, module, args, kwargs, dynamic)
        model = load(path)
    if dynamic is True and not _varies(model):
        print(
            f"{type(module).__name__}: the program is of the sizes of its examples alone, since it "
            f"depends on them",
            file=sys.stderr,
        )
    return model


def _varies(model: Imported) -> bool:
    """Whether a size of an input may vary, or there is none that could."""
    shapes = [given.meta.shape for given in model.program.inputs if given.meta is not None]
    return not any(shapes) or any(isinstance(n, Expression) for shape in shapes for n in shape)


def torch_module(model: Any) -> Any:
    """A module of PyTorch's as it is, and a function as one."""
    torch = _pytorch()
    if isinstance(model, torch.nn.Module):
        return model

    class Function(torch.nn.Module):  # type: ignore[misc,name-defined]  # known at the call
        def forward(self, *args: Any) -> Any:
            return model(*args)

    return Function()


def _pytorch() -> Any:
    """PyTorch, which is imported here alone."""
    try:
        import torch
    except ImportError as error:
        raise TracerError(
            "from_torch expects PyTorch to be installed: export the model where it is, with "
            "torch.export.save, and load the file"
        ) from error
    return torch


def _torch(module: Any) -> Any:
    torch = _pytorch()
    if not isinstance(module, torch.nn.Module):
        raise TracerError(f"from_torch expects a torch.nn.Module, got a {type(module).__name__}")
    return torch


def _as_tuple(args: Any) -> tuple[Any, ...]:
    return tuple(args) if isinstance(args, tuple | list) else (args,)


def _tensors(torch: Any, value: Any, dtype: Any) -> Any:
    """Arrays as tensors, however they are nested."""
    if isinstance(value, tuple | list):
        return type(value)(_tensors(torch, each, dtype) for each in value)
    if isinstance(value, dict):
        return {key: _tensors(torch, each, dtype) for key, each in value.items()}
    if isinstance(value, Tensor):
        value = value.data
    if hasattr(value, "__array__") and not isinstance(value, torch.Tensor):
        made = torch.as_tensor(value)
        return made.to(dtype) if dtype is not None and made.is_floating_point() else made
    return value


def _export(torch: Any, path: Path, module: Any, args: Any, kwargs: Any, dynamic: Any) -> None:
    """Write the exported program; with the sizes of the examples where others cannot be."""
    attempts: list[Any] = [dynamic]
    if isinstance(dynamic, bool):
        attempts = [_first_axes(torch, module, args, kwargs)] if dynamic else []
        attempts.append(None)
    for shapes in attempts:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                exported = torch.export.export(module, args, kwargs, dynamic_shapes=shapes)
                torch.export.save(exported, path)
        except Exception as error:  # whatever PyTorch raises
            failed = error
            continue
        return
    text = str(failed).strip().partition("\n")[0]
    way = next((way for sign, way in WAYS.items() if sign in text), OTHERWISE)
    sentence = text.partition(". ")[0].rstrip(".:")
    raise ProgramError(
        f"PyTorch cannot export this {type(module).__name__}: {sentence}: {way}"
    ) from failed


def _first_axes(torch: Any, module: Any, args: Any, kwargs: Any) -> Any:
    """PyTorch's way to say that first axes may have any size, by the names of all arguments."""
    axis = torch.export.Dim.AUTO

    def of(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return {0: axis} if value.ndim and value.shape[0] > 1 else None
        if isinstance(value, tuple | list):
            return type(value)(of(each) for each in value)
        if isinstance(value, dict):
            return {key: of(each) for key, each in value.items()}
        return None

    # a module that takes `*args` or `**kwargs` has these under their names
    bound = inspect.signature(module.forward).bind(*args, **kwargs).arguments
    return {name: of(value) for name, value in bound.items()}
