"""Networks that PyTorch exports to ONNX, by both of its exporters: values and gradients."""

import contextlib
import io
import sys
from pathlib import Path

import numpy as np
import pytest

import tracer
import tracer_import

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
sys.path.insert(0, str(Path(__file__).parents[1] / "tracer_import"))
from import_models import MODELS  # noqa: E402  # where PyTorch is there
from networks import NETWORKS  # noqa: E402

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "script"])
@pytest.mark.parametrize("name", ["perceptron", "convolutional", "transformer", "lstm", "gru"])
def test_exported_networks_compute_what_they_did(name, dynamo, tmp_path):
    if dynamo:
        pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    model, _, args, _ = NETWORKS[name]()
    model = model.double().eval()
    path = tmp_path / "net.onnx"
    options = {"external_data": False, "opset_version": 18} if dynamo else {"opset_version": 17}
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(model, args, str(path), dynamo=dynamo, **options)
    imported = tracer_import.load(path)
    output = model(*args)
    output.sum().backward()
    with tracer.Tape() as tape:
        found = imported(*(x.numpy() for x in args))
        loss = np.sum(found)
    np.testing.assert_allclose(found.data, output.detach().numpy(), rtol=1e-6, atol=1e-8)
    gradients = tape.backward(loss)["grad"]
    theirs = {n: p.grad.numpy() for n, p in model.named_parameters() if p.grad is not None}
    tied = ("tokens.weight", "head.weight")
    shared = [n for n in theirs if n in set(gradients) and n not in tied]
    assert shared  # others are folded into new arrays by the exporter
    for path_ in shared:
        if gradients[path_].shape == theirs[path_].shape:
            np.testing.assert_allclose(gradients[path_], theirs[path_], rtol=1e-5, atol=1e-5)


def test_a_resnet_is_read(tmp_path):
    pytest.importorskip("onnx")
    torch.manual_seed(0)
    model, args, _ = MODELS["resnet18"]()
    model, x = model.eval(), args[0].float()
    torch.onnx.export(model, (x,), str(tmp_path / "r.onnx"), dynamo=False, opset_version=13)
    found = tracer_import.load(tmp_path / "r.onnx")(x.numpy())
    np.testing.assert_allclose(found.data, model(x).detach().numpy(), rtol=1e-3, atol=1e-4)
