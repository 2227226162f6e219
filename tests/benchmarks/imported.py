"""Models of PyTorch's, imported, beside the same networks written here, and beside PyTorch's ways.

The networks are written once, in PyTorch's or our `nn` alike. PyTorch exports its own in a process
of its own, so that the process of the imported one has no PyTorch, as a user's may have none.
"""

from __future__ import annotations

import importlib.util
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import tracer
import tracer_layers as nn

from .gpu import alone
from .measure import Prepare, Row, at_most, installed
from .networks import NETWORKS, Network
from .processes import THREADS, in_turn

LIMIT, QUANTITIES = 300.0, ("grad", "batch_l2", "diag_ggn_mc", "kfac")
#: the most that an imported network may take of the time of one written here
BOUND = 1.1
#: what is timed, as it stands in rows -> above its column
COLUMNS = {
    "trace-net": "imported",
    "written": "written here",
    "PyTorch": "PyTorch's `grad`",
    "BackPACK": "BackPACK",
    "torch.func": "torch.func",
    "curvlinops": "curvlinops",
}
#: BackPACK's extensions
EXTENSIONS = {"batch_l2": "BatchL2Grad", "diag_ggn_mc": "DiagGGNMC", "kfac": "KFAC"}


MODELS = {"ResNet-18": NETWORKS["resnet-18"], "GPT": NETWORKS["gpt"]}


# -- rows ---------------------------------------------------------------------------------------


def rows() -> Iterator[Row]:
    """Every quantity of every network; none where PyTorch is not installed, which exports."""
    if not installed("PyTorch"):
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, model in MODELS.items():
            file = Path(folder, f"{name}.pt2")
            if problem := alone(partial(export, model, file)):
                raise RuntimeError(f"PyTorch did not export {name}: {problem}")
            for quantity in QUANTITIES:
                took = in_turn(steps(model, file, quantity), LIMIT)
                seconds = {column: each.seconds for column, each in took.items()}
                goals = at_most(BOUND, seconds["written"], f"written here x {BOUND}")
                yield Row(f"{name}, `{quantity}`", 1e-3, seconds, goals)


def export(model: Network, file: Path) -> None:
    """Write the network as PyTorch exports it, with any number of samples."""
    import torch

    torch.manual_seed(0)
    example = torch.from_numpy(model.data()[0][:2])
    axes = ({0: torch.export.Dim.AUTO},)
    program = torch.export.export(model.build(torch.nn), (example,), dynamic_shapes=axes)
    torch.export.save(program, file)


def steps(model: Network, file: Path, quantity: str) -> Mapping[str, Prepare]:
    """What is timed, by column."""
    made: dict[str, Prepare] = {
        "trace-net": partial(imported_step, model, file, quantity),
        "written": partial(written_step, model, file, quantity),
        "PyTorch": partial(gradient_step, model),
    }
    if quantity in EXTENSIONS and importlib.util.find_spec("backpack"):
        made["BackPACK"] = partial(backpack_step, model, quantity)
    if quantity in SAMPLED:
        made["torch.func"] = partial(vmap_step, model, quantity)
    if quantity == "kfac" and importlib.util.find_spec("curvlinops"):
        made["curvlinops"] = partial(curvlinops_step, model)
    return made


def imported_step(model: Network, file: Path, quantity: str) -> Callable[[], Any]:
    """Forward and backward of the archive."""
    import tracer_import

    return _swept(tracer_import.load(file), model, quantity)


def written_step(model: Network, file: Path, quantity: str) -> Callable[[], Any]:
    """The same of the network in our layers, with the same numbers."""
    import tracer_import

    ours = model.build(nn)
    ours.load_state_dict(tracer_import.load(file).state_dict())
    return _swept(ours, model, quantity)


def _swept(module: Any, model: Network, quantity: str) -> Callable[[], Any]:
    x, y = model.data()

    def step() -> Any:
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(module(x), y)
        return tape.backward(loss, (quantity,))

    return step


# -- PyTorch's ways -----------------------------------------------------------------------------


def _of_torch(model: Network) -> tuple[Any, Any, Any]:
    """The network, its inputs and its targets."""
    import torch

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    x, y = map(torch.from_numpy, model.data())
    return model.build(torch.nn), x, y


def gradient_step(model: Network) -> Callable[[], Any]:
    """The gradient by PyTorch."""
    import torch

    module, x, y = _of_torch(model)

    def step() -> None:
        module.zero_grad()
        torch.nn.functional.cross_entropy(module(x), y).backward()

    return step


def backpack_step(model: Network, quantity: str) -> Callable[[], Any]:
    """BackPACK, by its own conversion of networks that are no sequences."""
    import torch
    from backpack import backpack, extend, extensions

    warnings.simplefilter("ignore")
    module, x, y = _of_torch(model)
    module = extend(module, use_converter=True).eval()
    loss = extend(torch.nn.CrossEntropyLoss())
    extension = getattr(extensions, EXTENSIONS[quantity])

    def step() -> None:
        module.zero_grad()
        with backpack(extension()):
            loss(module(x), y).backward()

    return step


#: what `torch.func` has of gradients of samples
SAMPLED = ("batch_l2", "diag_ggn_mc")


def vmap_step(model: Network, quantity: str) -> Callable[[], Any]:
    """Gradients of each sample by `torch.func`; for the diagonal, at targets that are drawn."""
    import torch
    from torch.func import functional_call, grad, vmap

    module, x, y = _of_torch(model)
    parameters = {name: p.detach() for name, p in module.named_parameters()}
    buffers = dict(module.named_buffers())

    def loss(parameters: Any, x: Any, y: Any) -> Any:
        scores = functional_call(module, (parameters, buffers), (x[None],))
        return torch.nn.functional.cross_entropy(scores, y[None], reduction="sum")

    each = vmap(grad(loss), in_dims=(None, 0, 0))

    def step() -> Any:
        targets = y
        if quantity == "diag_ggn_mc":
            with torch.no_grad():
                p = torch.softmax(module(x), 1).movedim(1, -1)
            drawn = torch.multinomial(p.reshape(-1, p.shape[-1]), 1)
            targets = drawn.reshape(y.shape)
        gradients = each(parameters, x, targets)
        if quantity == "batch_l2":
            return {
                name: (g**2).flatten(1).sum(1) / y.numel() ** 2 for name, g in gradients.items()
            }
        return {name: (g**2).sum(0) / y.numel() for name, g in gradients.items()}

    return step


def curvlinops_step(model: Network) -> Callable[[], Any]:
    """Kronecker factors by curvlinops, of the linear maps and convolutions, which it knows."""
    import torch
    from curvlinops import KFACLinearOperator

    warnings.simplefilter("ignore")
    module, x, y = _of_torch(model)
    kinds = torch.nn.Linear, torch.nn.Conv2d
    known = [p for m in module.modules() if isinstance(m, kinds) for p in m.parameters()]
    loss = torch.nn.CrossEntropyLoss()

    def step() -> Any:
        operator = KFACLinearOperator(
            *(module, loss, known, [(x, y)]),
            fisher_type="mc", separate_weight_and_bias=True, check_deterministic=False,
        )  # fmt: skip
        operator.compute_kronecker_factors()
        return operator

    return step
