"""The list of PyTorch's names, and the arguments of all that are here, beside PyTorch itself."""

import importlib.util
import inspect
import json
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle

DOCS = Path(__file__).resolve().parents[2] / "docs"


def script(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


names, table = script("torch_names"), script("torch_table")
sys.path.insert(0, str(Path(__file__).parent))
from test_signatures_torch import P, parameters, same_default, torch_parameters  # noqa: E402

#: what tests beside compare: of functions and layers, of their modules' methods
COMPARED = ("torch.nn", "torch.nn.Module", "torch.nn.functional")
ELSEWHERE = [
    f"{space}.{row.name}"
    for space, rows in table.rows().items()
    if space not in COMPARED
    for row in rows
    if row.state != table.ABSENT
]
#: arguments that are PyTorch's alone: of its kernels, and what takes the place of parameters
LEFT_OUT = {"foreach", "fused", "capturable", "differentiable", "device", "multi_avg_fn"}
RESULTS = {"clip_grad_norm_", "clip_grad_norm", "clip_grad_value_", "clip_grads_with_norm_"}
#: classes that are for classes of one's own, or are made by functions
BASES = {"Optimizer", "ParametrizationList", "PackedSequence"}


def test_the_list_is_that_of_this_pytorch():
    known = json.loads(names.PATH.read_text(encoding="utf-8"))
    if known["version"] != torch.__version__.partition("+")[0]:
        pytest.skip(f"the list is of PyTorch {known['version']}")
    assert known["names"] == {space: names.names(space) for space in names.NAMESPACES}


@pytest.mark.parametrize("full", ELSEWHERE)
def test_arguments(full):
    space = max((s for s in table.OURS if full.startswith(f"{s}.")), key=len)
    name = full.removeprefix(f"{space}.")
    if name.rpartition(".")[2] in BASES:
        return
    ours, theirs = table.found(space, name), names.resolved(space)
    for part in name.split("."):
        theirs = getattr(theirs, part)
    expected = [p for p in torch_parameters(signed(theirs)) if p[0] not in LEFT_OUT]
    found = {p[0]: p for p in parameters(signed(ours))}
    for place, (argument, kind, default) in enumerate(expected):
        if name in RESULTS and place == 0:
            continue
        assert argument in found, argument
        if kind is not P.KEYWORD_ONLY and default is P.empty:
            assert list(found).index(argument) == place
        same = same_default(found[argument][2], default)
        assert same, f"{argument}: {found[argument][2]!r}, {default!r}"


def signed(thing):
    return thing.__init__ if inspect.isclass(thing) else thing


def test_what_is_compared():
    assert len(ELSEWHERE) > 70
