"""Writes `archives/`: what the tests open, with PyTorch's own results beside it.

`python tests/tracer_import/make_archives.py`, where PyTorch is installed. What no reader needs is
left out of an archive (sample inputs, names of functions, folders of files), so that it is small
and always the same.
"""

import io
import json
import os
import re
import sys
import zipfile
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "archives"
#: the archive that the docs open
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "convnet.pt2"
#: members that stay
KEPT = ("data/weights/", "data/constants/", "models/", "byteorder", "archive_format")


def written(program):
    """The archive as PyTorch writes it."""
    import torch

    file = io.BytesIO()
    torch.export.save(program, file)
    return zipfile.ZipFile(file)


#: what tensors have besides dtype and sizes, which only those in files need
OF_TENSORS = ("device", "strides", "storage_offset", "layout", "requires_grad")


def shortened(document):
    """The document without what nothing reads, and with the names of files alone."""
    document["verifiers"] = []
    return stripped(document)


def stripped(value):
    """The same without entries that say nothing, in graphs in graphs, too."""
    if isinstance(value, list):
        return [stripped(each) for each in value]
    if not isinstance(value, dict):
        return value
    kept = {key: stripped(each) for key, each in value.items() if each is not None}
    kept.pop("torch_fn", None)
    if "stack_trace" in kept:
        trace = re.sub(r'File "[^"]*?([^/"]+)"', _short, kept["stack_trace"])
        kept["stack_trace"] = re.sub(r"\n    .*", "", trace)
    if "sizes" in kept:
        kept = {key: each for key, each in kept.items() if key not in OF_TENSORS}
    return kept


def _short(match):
    """A file by its name; those of PyTorch itself stay its own."""
    inside = "/torch/" in match[0] or match[0].startswith('File "torch/')
    return f'File "torch/{match[1]}"' if inside else f'File "{match[1]}"'


def write(path, archive):
    """Write the members that stay, always in the same bytes."""
    root = archive.namelist()[0].partition("/")[0]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for name in archive.namelist():
            inner = name.removeprefix(f"{root}/")
            if not inner.startswith(KEPT):
                continue
            data = archive.read(name)
            if inner.endswith(".json") and inner.startswith("models/"):
                data = json.dumps(shortened(json.loads(data)), separators=(",", ":")).encode()
            file.writestr(zipfile.ZipInfo(f"archive/{inner}"), data)


def leaves(value):
    """Tensors, however they are nested, in their order."""
    if isinstance(value, tuple | list):
        return [leaf for each in value for leaf in leaves(each)]
    if isinstance(value, dict):
        return [leaf for each in value.values() for leaf in leaves(each)]
    return [value]


def results(model, args, kwargs):
    """Inputs, outputs, and the gradient of the sum of all outputs, by name."""
    inputs = [x.numpy() for x in leaves((args, kwargs))]
    outputs = leaves(model(*args, **kwargs))
    sum(x.sum() for x in outputs).backward()
    found = {f"input {i}": x for i, x in enumerate(inputs)}
    found |= {f"output {i}": x.detach().numpy() for i, x in enumerate(outputs)}
    found |= {f"grad {n}": p.grad.numpy() for n, p in model.named_parameters() if p.requires_grad}
    return found | {f"buffer {n}": b.numpy().copy() for n, b in model.named_buffers()}


def main():
    import torch
    from networks import NETWORKS, Convolutional, exported

    FOLDER.mkdir(exist_ok=True)
    for name in NETWORKS:
        model, program, args, kwargs = exported(name)
        write(FOLDER / f"{name}.pt2", written(program))
        np.savez(FOLDER / f"{name}.npz", **results(model, args, kwargs))
    half = torch.nn.Linear(2, 2).to(torch.bfloat16)
    program = torch.export.export(half, (torch.ones(2, 2, dtype=torch.bfloat16),))
    write(FOLDER / "bfloat16.pt2", written(program))
    torch.manual_seed(0)
    network = Convolutional().eval()
    shapes = ({0: torch.export.Dim.AUTO},)
    program = torch.export.export(network, (torch.randn(4, 1, 9, 9),), dynamic_shapes=shapes)
    write(EXAMPLE, written(program))
    print(
        f"{len(os.listdir(FOLDER))} files, {sum(f.stat().st_size for f in FOLDER.iterdir())} bytes"
    )


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
