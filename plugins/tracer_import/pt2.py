"""Archives of `torch.export.save`, `.pt2`, read without PyTorch: a zip of JSON and raw arrays.

The sample inputs in it are a pickle, which is never read. Of the schema (PyTorch 2.13: version 8)
only what a program needs is looked at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tracer_import.archive import Archive, Document, opened
from tracer_import.consistency import check_consistent
from tracer_import.errors import ProgramError
from tracer_import.graphs import GraphReader
from tracer_import.inplace import functional
from tracer_import.memory import with_orders
from tracer_import.program import Held, Input, Program, Value
from tracer_import.trees import Specification, specification
from tracer_import.weights import BFLOAT16, Weights

#: versions of the schema that are read
MAJOR = 8


def read(path: Path) -> Program:
    """The program in a `.pt2` file, in which nothing is executed.

    Raises `ProgramError` for one that is damaged or holds what is no program, `OSError` for a file
    that is not there.
    """
    with opened(path) as archive:
        _check_versions(archive)
        document = archive.document(_only_model(archive))
        _check_schema(document)
        program = functional(_program(archive, document))
        check_consistent(program)
        return program


def _check_versions(archive: Archive) -> None:
    if "byteorder" in archive and archive.read("byteorder") not in (b"little", b"big"):
        raise ValueError("its byte order is neither little nor big")


def _only_model(archive: Archive) -> str:
    models = [name for name in archive.names("models/") if name.endswith(".json")]
    if len(models) != 1:
        compiled = any(name.startswith("data/aotinductor/") for name in archive.names("data/"))
        what = "a compiled model" if compiled and not models else f"{len(models)} models"
        raise ProgramError(
            f"{str(archive.path)!r} holds {what}, and one program is read: write it with "
            f"torch.export.save(torch.export.export(model, inputs), path)"
        )
    return models[0]


def _check_schema(document: Document) -> None:
    version = document["schema_version"]
    if version["major"] != MAJOR:
        raise ProgramError(
            f"the program is of version {version['major']}.{version['minor']} of PyTorch's format, "
            f"and version {MAJOR} is read: export it with another PyTorch (2.6 to 2.13 are known)"
        )


def _program(archive: Archive, document: Document) -> Program:
    module = document["graph_module"]
    reader = GraphReader(module["graph"])
    reader.add_all()
    signature, weights = module["signature"], Weights(archive)
    given, held = [], []
    for spec in signature["input_specs"]:
        (kind, entry), *_ = spec.items()
        if kind in ("user_input", "constant_input"):
            given.append(_given(kind, entry))
        else:
            held.append(_held(kind, entry, weights))
    outputs, mutations = [], {}
    for spec in signature["output_specs"]:
        (kind, entry), *_ = spec.items()
        if kind == "user_output":
            outputs.append(reader.argument(entry["arg"]))
        elif kind == "buffer_mutation":
            mutations[str(entry["buffer_name"])] = reader.named(entry["arg"]["name"])
        elif kind not in ("user_input_mutation", "token"):
            raise ProgramError(
                f"the program has an output of the kind {kind!r}: export the model alone, without "
                f"its training step"
            )
    held += weights.ties(held)
    called = _specification(module)
    return Program(
        inputs=called.named(given, reader.metas),
        held=tuple(held),
        nodes=with_orders(reader.nodes, reader.metas),
        outputs=tuple(outputs),
        mutations=mutations,
        arguments=called.arguments,
        keywords=called.keywords,
        argument_names=called.names,
        results=called.results,
        metas=reader.metas,
        ranges=_ranges(document.get("range_constraints") or {}),
        modules=_modules(module, reader.modules),
        origin=archive.path.name,
        notes=(*weights.notes(), *_precision_notes(module["graph"]["nodes"])),
    )


def _precision_notes(nodes: Sequence[Document]) -> tuple[str, ...]:
    """What a user should know of the precision that a program asks for within."""
    computing = [node for node in nodes if "_assert" not in node["target"]]
    given = [[entry["arg"] for entry in node["inputs"]] for node in computing]
    count = sum({"as_scalar_type": BFLOAT16} in arguments for arguments in given)
    if not count:
        return ()
    return (f"{count} operators make bfloat16, and compute in float32, of more digits",)


def _given(kind: str, entry: Document) -> Input:
    if kind == "constant_input":
        ((_, constant), *_) = entry["value"].items()
        if "as_none" in entry["value"]:
            constant = None
        return Input(str(entry["name"]), str(entry["name"]), constant=(constant,))
    argument = GraphReader.plain_argument(entry["arg"])
    if not isinstance(argument, Value):
        return Input("", "", constant=(argument,))
    return Input(argument.name, argument.name)


def _held(kind: str, entry: Document, weights: Weights) -> Held:
    if kind == "parameter":
        path = str(entry["parameter_name"])
        return weights.held(entry["arg"]["name"], path, "parameter")
    if kind == "buffer":
        path = str(entry["buffer_name"])
        saved = "buffer" if entry.get("persistent", True) else "transient"
        return weights.held(entry["arg"]["name"], path, saved)
    if kind == "tensor_constant":
        path = str(entry["tensor_constant_name"])
        return weights.held(entry["arg"]["name"], path, "constant")
    raise ProgramError(
        f"the program takes a {kind.replace('_', ' ')}, which is code and no array: export the "
        f"model without it"
    )


def _specification(module: Document) -> Specification:
    for entry in module["module_call_graph"]:
        signature = entry.get("signature")
        if entry["fqn"] == "" and signature:
            return specification(
                json.loads(signature["in_spec"]),
                json.loads(signature["out_spec"]),
                signature.get("forward_arg_names") or (),
            )
    raise ValueError("it does not say what the model is called with")


def _modules(module: Document, called: Mapping[str, str]) -> dict[str, str]:
    """Path -> class of all modules in the model's order; "" for those that are not called."""
    paths = [str(entry["fqn"]) for entry in module["module_call_graph"]]
    known = {path: called.get(path, "") for path in paths if "@" not in path}
    return {**known, **called}


def _ranges(constraints: Document) -> dict[str, tuple[int, int | None]]:
    found = {}
    for name, limits in constraints.items():
        least, most = limits.get("min_val"), limits.get("max_val")
        found[str(name)] = (0 if least is None else int(least), None if most is None else int(most))
    return found
