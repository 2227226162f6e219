"""What is sent to workers, as a pickle: by reference, or by value where it has no place to name.

Functions and classes of a file are sent as its name and theirs. That holds for a script that is run
(`__main__`), which workers of this machine import again, and for files that were loaded by their
path, as a TARGET of the command line: those are loaded again from there. What a notebook, a shell,
a lambda or a function inside another defines has no such name. It is sent by value, by cloudpickle,
if that is installed; so is all that workers of other machines cannot import.
"""

from __future__ import annotations

import io
import pickle
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from tracer.errors import TracerError
from tracer_scale.errors import WorkerError

WAYS = (
    "write it at the top of a file, or install cloudpickle, which sends it by value "
    "(pip install 'trace-net[dask]')"
)


def packed(value: Any, what: str, elsewhere: bool = False) -> bytes:
    """The pickle of a value. `elsewhere` says that workers cannot load this program's files.

    Raises `WorkerError` for what has no pickle.
    """
    has_file = getattr(sys.modules["__main__"], "__file__", None) is not None
    try:
        if elsewhere:
            return _by_value(value)
        noting = _Noting(io.BytesIO(), pickle.HIGHEST_PROTOCOL)
        noting.dump(value)
        if has_file or "__main__" not in noting.modules:
            return pickle.dumps((_loaded_by_path(noting.modules), noting.file.getvalue()))
        return _by_value(value)
    except (TracerError, ImportError):
        raise
    except Exception as error:
        if not elsewhere:
            try:
                return _by_value(value)
            except WorkerError as without:
                raise WorkerError(
                    f"{what} cannot be sent to workers ({error}): {WAYS}"
                ) from without
        raise WorkerError(f"{what} cannot be sent to workers ({error}): {WAYS}") from error


def unpacked(sent: bytes) -> Any:
    """What `packed` was given, in a worker."""
    files, value = pickle.loads(sent)
    for name, path in files:
        if name not in sys.modules:
            _load(name, path)
    return pickle.loads(value)


class _Noting(pickle.Pickler):
    """Notes the modules of functions and classes that it sends by reference."""

    def __init__(self, file: io.BytesIO, protocol: int):
        super().__init__(file, protocol)
        self.file, self.modules = file, set[str]()

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, type | FunctionType):
            self.modules.add(value.__module__)
        return NotImplemented


def _by_value(value: Any) -> bytes:
    """A pickle in which stands what workers cannot import."""
    try:
        import cloudpickle
    except ImportError as error:
        raise WorkerError(f"what is folded is defined in no file: {WAYS}") from error
    loaded = [sys.modules[name] for name, _ in _loaded_by_path(set(sys.modules))]
    for module in loaded:
        cloudpickle.register_pickle_by_value(module)
    try:
        return pickle.dumps(([], cloudpickle.dumps(value)))
    finally:
        for module in loaded:
            cloudpickle.unregister_pickle_by_value(module)


def _loaded_by_path(names: set[str]) -> list[tuple[str, str]]:
    """(name, path) of modules whose names nobody finds, as they were loaded from files."""
    found = []
    for name in sorted(names - {"__main__", "__mp_main__"}):
        module = sys.modules.get(name)
        path = getattr(module, "__file__", None)
        if path is None or name in sys.builtin_module_names or not Path(path).is_file():
            continue
        if PathFinder.find_spec(name.partition(".")[0]) is None and path.endswith(".py"):
            found.append((name, path))
    return found


def _load(name: str, path: str) -> None:
    """Run a file as a module of this name."""
    module = ModuleType(name)
    module.__file__, module.__package__ = path, ""
    sys.modules[name] = module
    exec(compile(Path(path).read_bytes(), path, "exec", dont_inherit=True), vars(module))
