"""The core's own operations, rows and array libraries.

This module is the first plugin that loads, and has no privilege over others. What it registers is
found in the files that define it: a family of operations is a file of `tracer.operations` with a
list `OPERATIONS`, an array library an instance in a file `backend*.py` of `tracer.arrays`.
"""

import pkgutil
from importlib import import_module
from types import ModuleType

from tracer import arrays, operations
from tracer.arrays import sampled
from tracer.arrays.backend import Backend
from tracer.curvature import rows
from tracer.plugins.hookspecs import hookimpl
from tracer.record.frames import INTERNAL_FILES


def _files(package: ModuleType, prefix: str = "") -> list[ModuleType]:
    """The modules of a package whose names begin with this, in alphabetical order."""
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return [import_module(f"{package.__name__}.{n}") for n in names if n.startswith(prefix)]


FILES = _files(operations)
FAMILIES = [file for file in FILES if hasattr(file, "OPERATIONS")]
INTERNAL_FILES.update(str(file.__file__) for file in (sampled, *FILES))


@hookimpl
def register_operations():
    return [op for family in FAMILIES for op in family.OPERATIONS]


@hookimpl
def register_rows():
    return rows.BUNDLED


@hookimpl
def register_backends():
    return [
        value
        for file in _files(arrays, "backend")
        for value in vars(file).values()
        if isinstance(value, Backend) and type(value).__module__ == file.__name__
    ]
