"""The public names of PyTorch that this project mirrors, as data: `docs/torch_names.json`.

`python docs/torch_names.py` writes the file from the PyTorch that is installed, which the page
[Names of PyTorch](reference/torch.md) and its tests then do without.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

PATH = Path(__file__).with_name("torch_names.json")

#: namespaces whose names are listed, those of submodules with dots
NAMESPACES = {
    "torch.nn": (),
    "torch.nn.Module": (),
    "torch.nn.functional": (),
    "torch.nn.init": (),
    "torch.nn.utils": ("parametrizations", "parametrize", "prune", "rnn", "stateless"),
    "torch.optim": (),
    "torch.optim.lr_scheduler": (),
    "torch.optim.swa_utils": (),
}

#: helpers of PyTorch's own that stand among its functions
HELPERS = {
    "has_torch_function",
    "has_torch_function_unary",
    "has_torch_function_variadic",
    "PackedSequence_",
    "bind",
    "factory_kwargs",
    "assert_int_or_pair",
}


def names(namespace: str) -> list[str]:
    """The public names of a namespace, sorted."""
    return sorted(found(namespace, NAMESPACES[namespace]), key=str.lower)


def found(namespace: str, submodules: tuple[str, ...]) -> Iterator[str]:
    owner = resolved(namespace)
    listed = getattr(owner, "__all__", None) or dir(owner)
    for name in listed:
        value = getattr(owner, name)
        if name.startswith("_") or name in HELPERS or isinstance(value, ModuleType):
            continue
        if isinstance(owner, type) or is_own(value, namespace):
            yield name
    for submodule in submodules:
        path = f"{namespace}.{submodule}"
        yield from (f"{submodule}.{name}" for name in found(path, ()))


def resolved(path: str) -> object:
    """What a dotted path leads to: a module, or a class in one."""
    try:
        return importlib.import_module(path)
    except ImportError:
        module, _, name = path.rpartition(".")
        return getattr(importlib.import_module(module), name)


def is_own(value: object, namespace: str) -> bool:
    """Whether a function or class is PyTorch's and no helper that the namespace imports."""
    module = getattr(value, "__module__", None)
    if not callable(value) or module is None:
        return False
    if namespace == "torch.nn.functional":
        return module in (namespace, "torch", "torch._C._nn") and not isinstance(value, type)
    if namespace.startswith("torch.optim"):
        return True  # by its __all__
    if namespace.count(".") > 1 and namespace != "torch.nn.utils":
        return module == namespace
    return module.startswith("torch.nn")


if __name__ == "__main__":
    import torch

    found_names = {namespace: names(namespace) for namespace in NAMESPACES}
    version = torch.__version__.partition("+")[0]
    text = json.dumps({"version": version, "names": found_names}, indent=1)
    PATH.write_text(text + "\n", encoding="utf-8")
    print(PATH)
