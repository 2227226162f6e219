"""Networks that PyTorch exports to ONNX, by both of its exporters: values and gradients.

Exporters fold batch normalisation into convolutions and rename weights: gradients are compared by
the inputs, and by those parameters that the file holds as they were.
"""

import contextlib
import inspect
import io
import sys
from pathlib import Path

import numpy as np
import pytest

import tracer
import tracer_import
import tracer_layers

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
sys.path.insert(0, str(Path(__file__).parents[1] / "tracer_import"))
from networks import NETWORKS, example  # noqa: E402  # where PyTorch is there
from test_import_programs import leaves, made, spread  # noqa: E402
from torch import nn  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


class UNet(nn.Module):
    """Down, up by interpolation and by a transposed convolution, with skips."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.SiLU())
        self.down = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(4, 8, 3, padding=1), nn.ReLU())
        self.deep = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(8, 8, 3, padding=1), nn.LeakyReLU())
        self.up = nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.smooth = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.last = nn.Conv2d(12, 2, 1)

    def forward(self, x):
        first = self.first(x)
        down = self.down(first)
        up = self.up(self.deep(down)) + down
        return self.last(torch.cat([first, self.smooth(up)], 1))


def unet():
    torch.manual_seed(0)
    return UNet().double().eval(), (example(2, 3, 8, 8),), {}


def small(name):
    """One of the networks of the archives."""
    torch.manual_seed(0)
    model, _, args, kwargs = NETWORKS[name]()
    model = model.double()
    spread(model, args, kwargs)  # exporters make one array of those that are the same
    return model.eval(), args, kwargs


SMALL = ("perceptron", "convolutional", "transformer", "lstm", "gru")
KNOWN = ("resnet18", "mobilenet_v2", "vit", "bert", "gpt2", "fcn")
#: the exporter and its opset; the newer exporter has none below 18, and 25 is what it may write
EXPORTS = {
    "script-13": {"dynamo": False, "opset_version": 13},
    "script-17": {"dynamo": False, "opset_version": 17},
    "script-20": {"dynamo": False, "opset_version": 20},
    "dynamo-18": {"dynamo": True, "opset_version": 18, "external_data": False},
    "dynamo-25": {"dynamo": True, "opset_version": 25, "external_data": False},
}
#: what PyTorch's exporter does not write
UNWRITTEN = {
    **dict.fromkeys([("vit", "script-13"), ("bert", "script-13"), ("transformer", "script-13")],
                    "scaled_dot_product_attention"),
    **{("gpt2", f"script-{n}"): "aten::diff" for n in (13, 17, 20)},
}  # fmt: skip
#: parameters that are others in files: padding has no gradient in PyTorch, which no file says, and
#: of tied ones the older exporter makes two
DEPARTS = ("bert.embeddings.word_embeddings.weight", "tokens.weight")


def network(name):
    return unet() if name == "unet" else small(name) if name in SMALL else made(name)


def exported(path, model, args, kwargs, **options):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        torch.onnx.export(model, args, str(path), kwargs=kwargs, **options)
    return path


def compare(model, imported, args, kwargs, least):
    """Values, and gradients by inputs and by `least` parameters at least, which are as they were.

    Files have some numbers in single precision, as the smallest of variances.
    """
    inputs = [x.clone() for x in (*args, *kwargs.values())][: len(imported.program.inputs)]
    for x in inputs:
        x.requires_grad_(x.is_floating_point())
    given = dict(zip(kwargs, inputs[len(args) :], strict=False))
    outputs = [x for x in leaves(model(*inputs[: len(args)], **given)) if x.is_floating_point()]
    weights = [torch.randn_like(x) for x in outputs]
    sum((x * w).sum() for x, w in zip(outputs, weights, strict=True)).backward()

    def loss(*arrays):
        found = [x for x in leaves(imported(*arrays)) if x.dtype.kind == "f"]
        for ours, theirs in zip(found, outputs, strict=False):
            wanted = theirs.detach().numpy()
            values = ours.data if isinstance(ours, tracer.Tensor) else ours
            np.testing.assert_allclose(values, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())
        sums = [np.sum(x * w.numpy()) for x, w in zip(found, weights, strict=False)]
        return sum(sums[1:], sums[0])

    arrays = [x.detach().numpy() for x in inputs]
    with tracer.Tape() as tape:
        total = loss(*arrays)
    gradients = tape.backward(total)["grad"]
    compared = 0
    for path, p in model.named_parameters():
        ours = gradients.get(path)
        if ours is None or p.grad is None or path in DEPARTS:
            continue
        if np.array_equal(imported.get_parameter(path).data, p.detach().numpy()):
            wanted = p.grad.numpy()
            scale = max(np.abs(wanted).max(), 1e-9)
            np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-5 * scale, err_msg=path)
            compared += 1
    assert compared >= least, compared
    for i, x in enumerate(inputs):
        if x.is_floating_point():
            ours = tracer.grad(lambda v, i=i: loss(*arrays[:i], v, *arrays[i + 1 :]))(arrays[i])
            wanted = x.grad.numpy()
            np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


#: parameters that are compared by name, at least: others are folded, transposed or renamed
LEAST = {
    "perceptron": 5,
    "transformer": 3,
    "lstm": 1,
    "gru": 1,
    "unet": 8,
    "vit": 20,
    "bert": 26,
    "gpt2": 24,
}


#: exports of large models that the other oracles compare, too; all are with `-m programs`
SHOWN = {("resnet18", "script-13"), ("resnet18", "dynamo-25"), ("bert", "script-17")}
CASES = [
    pytest.param(name, export, marks=pytest.mark.oracle
                 if name not in KNOWN or (name, export) in SHOWN else pytest.mark.programs)
    for name in (*SMALL, "unet", *KNOWN) for export in EXPORTS
]  # fmt: skip


@pytest.mark.parametrize(("name", "export"), CASES)
def test_exported_networks_compute_what_they_did(name, export, tmp_path):
    model, args, kwargs = network(name)
    path, options = tmp_path / "net.onnx", EXPORTS[export]
    if (name, export) in UNWRITTEN:
        with pytest.raises(Exception, match=UNWRITTEN[name, export]):
            exported(path, model, args, kwargs, **options)
        return
    imported = tracer_import.load(exported(path, model, args, kwargs, **options))
    compare(model, imported, args, kwargs, LEAST.get(name, 1))


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["vit", "bert"])
def test_attention_of_the_first_opset_is_read(name, tmp_path):
    """As it was written before PyTorch had an operator of it."""
    model, args, kwargs = network(name)
    if name == "bert":
        model.config._attn_implementation = "eager"
    options = {"dynamo": False, "opset_version": 14 if name == "vit" else 13}
    imported = tracer_import.load(exported(tmp_path / "net.onnx", model, args, kwargs, **options))
    compare(model, imported, args, kwargs, LEAST[name] - 1)


# -- batches --------------------------------------------------------------------------------------


@pytest.mark.oracle
@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "script"])
@pytest.mark.parametrize("name", ["convolutional", "lstm", "unet", "vit", "resnet18"])
def test_a_batch_may_have_any_size_and_samples_are_told_apart(name, dynamo, tmp_path):
    model, args, kwargs = network(name)
    argument = next(iter(inspect.signature(model.forward).parameters))
    options = {"opset_version": 18, "external_data": False, "dynamo": True,
               "dynamic_shapes": {argument: {0: torch.export.Dim("n")}}}  # fmt: skip
    if not dynamo:
        options = {"opset_version": 17, "dynamo": False, "input_names": [argument],
                   "dynamic_axes": {argument: {0: "n"}}}  # fmt: skip
    imported = tracer_import.load(exported(tmp_path / "n.onnx", model, args, kwargs, **options))
    x = np.concatenate([args[0].numpy()] * 3)[:5]
    wanted = model(torch.from_numpy(x)).detach().numpy()
    scale = np.abs(wanted).max()
    for i in range(5):
        alone = imported(x[i : i + 1]).data
        np.testing.assert_allclose(alone, wanted[i : i + 1], rtol=0, atol=1e-6 * scale)

    def swept(x, quantity):
        with tracer.Tape() as tape:
            loss = np.sum(np.sin(imported(x) / scale))
        return tape.backward(loss, (quantity,))[quantity]

    found = swept(x, "batch_l2")
    assert found
    each = [swept(x[i : i + 1], "grad") for i in range(5)]
    for path, value in found.items():
        alone = np.array([np.sum(one[path] ** 2) for one in each])
        np.testing.assert_allclose(value, alone, rtol=1e-7, atol=1e-12 * alone.max())


# -- modes ----------------------------------------------------------------------------------------


def kept(path, model, args, training):
    """Exported by the older exporter without folding, as it trains or as it is evaluated."""
    mode = torch.onnx.TrainingMode
    return exported(
        path, model, args, {}, dynamo=False, opset_version=17, do_constant_folding=False,
        training=mode.TRAINING if training else mode.PRESERVE,
    )  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["convolutional", "resnet18"])
def test_batch_normalisation_that_is_kept_has_its_parameters(name, tmp_path):
    model, args, kwargs = network(name)
    imported = tracer_import.load(kept(tmp_path / "net.onnx", model, args, False))
    parameters = len(list(model.parameters()))
    compare(model, imported, args, kwargs, parameters - (name == "convolutional"))
    assert not imported.training


@pytest.mark.oracle
def test_training_and_evaluation_are_both_there(tmp_path):
    """Statistics of the batch, running ones by ONNX's own definition, and a switch."""
    model, args, _ = network("convolutional")
    model.train()
    imported = tracer_import.load(kept(tmp_path / "net.onnx", model, args, True))
    assert imported.training
    x = args[0].numpy()
    before = {path: b.copy() for path, b in imported.named_buffers()}
    with torch.no_grad():
        stem = model.stem(args[0])
        first = model.blocks[0].conv(stem).numpy()
    output = model(*args)
    np.testing.assert_allclose(imported(x).data, output.detach().numpy(), rtol=1e-6, atol=1e-9)
    after = dict(imported.named_buffers())
    mean, variance = (f"blocks.0.norm.running_{kind}" for kind in ("mean", "var"))
    np.testing.assert_allclose(
        after[mean], 0.9 * before[mean] + 0.1 * first.mean((0, 2, 3)), rtol=1e-6
    )
    np.testing.assert_allclose(
        after[variance], 0.9 * before[variance] + 0.1 * first.var((0, 2, 3)), rtol=1e-6
    )
    imported.eval()
    state = {n: torch.from_numpy(b.copy()) for n, b in imported.named_buffers()}
    model.load_state_dict(state, strict=False)
    evaluated = model.eval()(*args).detach().numpy()
    np.testing.assert_allclose(imported(x).data, evaluated, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(dict(imported.named_buffers())[mean], after[mean])


@pytest.mark.oracle
def test_dropout_is_drawn_by_the_librarys_generator_in_training_alone(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 200), nn.Dropout(0.25)).double().train()
    x = example(3, 4)
    imported = tracer_import.load(kept(tmp_path / "net.onnx", model, (x,), True))
    assert imported.training
    tracer.seed(0)
    first, second = (imported(x.numpy()).data for _ in range(2))
    assert not np.array_equal(first, second)
    tracer.seed(0)
    np.testing.assert_array_equal(imported(x.numpy()).data, first)
    assert 0.15 < (first == 0).mean() < 0.35
    still = imported.eval()(x.numpy()).data
    np.testing.assert_allclose(still, model.eval()(x).detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(first[first != 0], (still / 0.75)[first != 0], rtol=1e-12)


# -- structure ------------------------------------------------------------------------------------


@pytest.mark.oracle
def test_factors_are_those_of_the_module(tmp_path):
    """Of a convolutional network: the same as where the module itself is imported."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 2, padding=1), nn.Tanh(), nn.Conv2d(3, 2, 2, stride=2), nn.Flatten(),
        nn.Linear(8, 4), nn.Sigmoid(), nn.Linear(4, 3),
    ).double()  # fmt: skip
    x = example(5, 2, 4, 4)
    file = exported(tmp_path / "net.onnx", model, (x,), {}, dynamo=False, opset_version=17)

    def factors(imported):
        with tracer.Tape() as tape:
            loss = tracer_layers.cross_entropy(imported(x.numpy()), np.arange(5) % 3)
        return tape.backward(loss, ("kflr",))["kflr"]

    of_module = factors(tracer_import.from_torch(model, (x,)))
    of_file = factors(tracer_import.load(file))
    assert set(of_file) == set(of_module) == {n for n, _ in model.named_parameters()}
    for path, wanted in of_module.items():
        for ours, theirs in zip(of_file[path].factors, wanted.factors, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-14)
