"""The plugin: registers the operators of imported programs."""

from __future__ import annotations

from tracer import hookimpl, registry
from tracer.extend import ImportedOperator, Importer
from tracer_import.importers import Programs
from tracer_import.operators import OPERATORS

registry.imports.examined_by = "tracer_import.checks:check_operator"
registry.importers.examined_by = "tracer_import.checks:check_importer"


@hookimpl
def register_imports() -> list[ImportedOperator]:
    """Operators of ATen's, each where it is defined."""
    return list(OPERATORS.values())


@hookimpl
def register_importers() -> list[Importer]:
    """Archives and modules of PyTorch's."""
    return [Programs()]
