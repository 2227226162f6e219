"""What torchview and torchlens draw of the networks beside this file: boxes and sizes.

    python -m venv peers
    peers/bin/pip install torch==2.13.0 torchview torchlens
    peers/bin/pip install --no-deps torchvision==0.28.0
    peers/bin/python docs/gallery/peers.py [NETWORK ...]

It finds what `peers.json` lacks, one entry after the other, and those of the networks named. Other
versions begin anew.

The networks are built by PyTorch from the same files: `tracer_layers` mirrors `torch.nn`, and the
few functions of NumPy that they call have namesakes in PyTorch. What comes out is in `peers.json`,
which `draw.py` puts on the page. Graphviz's `dot` has to be on the path. No picture is kept.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import library as operators

HERE = Path(__file__).parent
FOUND = HERE / "peers.json"
NAMES = ("resnet18", "unet", "gpt", "transformer", "bigru", "mobilenet", "tree")
#: seconds that a drawing may take
LIMIT = 480
PEERS = ("torch", "torchvision", "torchview", "torchlens")


class Module(torch.nn.Module):
    """One that needs no `super().__init__()`, as in `tracer_layers`."""

    def __new__(cls, *_: Any, **__: Any) -> Module:
        self = super().__new__(cls)
        torch.nn.Module.__init__(self)
        return self


def namesakes() -> tuple[types.ModuleType, types.ModuleType, types.ModuleType]:
    """What stands for `tracer`, for `tracer_layers` and, in their functions, for NumPy."""
    recorder = types.ModuleType("tracer")
    recorder.steps = lambda n, reverse=False: range(n)[:: -1 if reverse else 1]
    layers = types.ModuleType("tracer_layers")
    layers.__dict__.update(vars(torch.nn), Module=Module)
    arrays = types.ModuleType("arrays")
    arrays.__dict__.update(vars(numpy))
    arrays.concatenate = lambda parts, axis: torch.cat(parts, dim=axis)
    arrays.stack = lambda parts, axis: torch.stack(parts, dim=axis)
    arrays.mean = lambda x, axis: torch.mean(x, dim=axis)
    arrays.where = lambda mask, a, b: torch.where(torch.as_tensor(mask), a, b)
    arrays.array, arrays.arange, arrays.moveaxis = torch.tensor, torch.arange, torch.moveaxis
    arrays.einsum, arrays.tanh = torch.einsum, torch.tanh
    return recorder, layers, arrays


def built(name: str) -> tuple[torch.nn.Module, list[Any]]:
    """The network of a file by PyTorch, and its inputs."""
    recorder, layers, arrays = namesakes()
    sys.modules.update(tracer=recorder, tracer_layers=layers)
    space: dict[str, Any] = {"__name__": name}
    exec(compile((HERE / f"{name}.py").read_text(), name, "exec"), space)
    space["np"] = arrays
    torch.manual_seed(0)
    model, inputs = space["build_model"](), space["example_inputs"]()
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    return model, [torch.as_tensor(x) if hasattr(x, "shape") else x for x in inputs]


def by_torchview(model: torch.nn.Module, inputs: list[Any], folder: str) -> str:
    """SVG with torchview's defaults."""
    import torchview

    drawn = torchview.draw_graph(model, input_data=inputs).visual_graph
    return drawn.pipe(format="svg").decode()


def by_torchlens(collapse: str) -> Callable[[torch.nn.Module, list[Any], str], str]:
    """SVG with torchlens's defaults, but for what it folds."""

    def draw(model: torch.nn.Module, inputs: list[Any], folder: str) -> str:
        import torchlens

        path = Path(folder) / "drawn"
        torchlens.trace(model, inputs).draw(
            vis_outpath=str(path), vis_fileformat="svg", vis_save_only=True, collapse=collapse
        )
        return path.with_suffix(".svg").read_text()

    return draw


WAYS = {
    "torchview": by_torchview,
    "torchlens": by_torchlens("none"),
    "torchlens, collapse=auto": by_torchlens("auto"),
}


def measured(text: str) -> dict[str, Any]:
    """Boxes, width and height in points of an SVG that Graphviz wrote."""
    if 'class="node"' not in text:
        return {"error": "an empty picture"}
    width, height = re.search(r'<svg width="([\d.]+)pt" height="([\d.]+)pt"', text).groups()
    return {
        "boxes": text.count('class="node"'),
        "width": round(float(width)),
        "height": round(float(height)),
    }


def drawn(name: str, way: str) -> dict[str, Any]:
    """What a peer makes of a network, in a process of its own that is ended after `LIMIT`."""
    command = [sys.executable, "-W", "ignore", __file__, "--one", name, way]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        out, _ = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return {"error": f"not drawn in {LIMIT} s"}
    return json.loads(out.splitlines()[-1]) if process.returncode == 0 else {"error": "crashed"}


def draw_one(name: str, way: str) -> dict[str, Any]:
    """The same in this process."""
    operators.define("torchvision::nms", "(Tensor dets, Tensor scores, float limit) -> Tensor")
    with tempfile.TemporaryDirectory() as folder:
        try:
            return measured(WAYS[way](*built(name), folder))
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}".splitlines()[0].split(". ")[0]}


def kept(versions: dict[str, str]) -> dict[str, Any]:
    """What was found before by these versions of the peers; nothing of what others found."""
    found = json.loads(FOUND.read_text()) if FOUND.is_file() else {}
    return found["networks"] if found.get("versions") == versions else {}


def main(again: list[str]) -> None:
    """Find the entries that `FOUND` lacks, and those of the networks named `again`.

    It is written after each, so that a run that is ended goes on where it was.
    """
    versions = {name: metadata.version(name).partition("+")[0] for name in PEERS}
    before = kept(versions)
    entries = {name: {} if name in again else before.get(name, {}) for name in NAMES}
    for name in NAMES:
        for way in WAYS:
            if way in entries[name]:
                continue
            entries[name][way] = drawn(name, way)
            print(name, way, entries[name][way], file=sys.stderr)
            ordered = {n: {w: e[w] for w in WAYS if w in e} for n, e in entries.items()}
            text = json.dumps({"versions": versions, "networks": ordered}, indent=1)
            FOUND.with_suffix(".new").write_text(text + "\n")
            FOUND.with_suffix(".new").replace(FOUND)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(draw_one(*sys.argv[2:])))
    else:
        main(sys.argv[1:])
