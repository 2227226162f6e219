"""45 models of torchvision, timm and transformers, imported: values and gradients are PyTorch's.

Five of them are compared with the other oracles; all are with `-m programs`, which takes some
minutes. What is not installed is skipped.
"""

import numpy as np
import pytest

import tracer
import tracer_import
import tracer_layers as nn

torch = pytest.importorskip("torch")
from import_models import MODELS, PACKAGES  # noqa: E402  # where PyTorch is there

#: one of each kind: convolutional, attention in windows, a decoder, an encoder-decoder, experts
FIVE = ("resnet18", "swin", "gpt2", "t5", "mixtral")
pytestmark = [
    pytest.mark.filterwarnings("ignore"),
]


#: below this share of the largest gradient one is nothing but rounding, as of the biases of keys
SMALLEST = 1e-7


def marked(name):
    return pytest.param(name, marks=pytest.mark.oracle if name in FIVE else pytest.mark.programs)


def leaves(value):
    """Tensors and arrays, however they are nested."""
    if isinstance(value, tuple | list):
        return [leaf for each in value for leaf in leaves(each)]
    if hasattr(value, "items"):
        return [leaf for _, each in value.items() for leaf in leaves(each)]
    return [value] if hasattr(value, "dtype") else []


def made(name, mode="eval"):
    """The module in double precision, and what it is called with."""
    pytest.importorskip(PACKAGES[name])
    torch.manual_seed(0)
    model, args, kwargs = MODELS[name]()
    model = model.double()
    spread(model, args, kwargs)
    getattr(model, mode)()
    return model, args, kwargs


@torch.no_grad()
def spread(model, args, kwargs):
    """Give a model values with which all of its parameters matter.

    Heads and branches often begin with zeros, and matrices with small numbers: gradients would be
    nothing, and equal to nothing. Running statistics become those of eight examples.
    """
    for p in model.parameters():
        if p.ndim > 1 and p[0].numel() > 1:
            p.normal_(0, p[0].numel() ** -0.5)
        else:
            p.add_(0.3 * torch.randn_like(p))
    norms = [m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    if norms:
        model(*(torch.randn(8, *x.shape[1:], dtype=x.dtype) for x in args), **kwargs)
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum


def of_arrays(args, kwargs):
    return [x.numpy() for x in args], {key: x.numpy() for key, x in kwargs.items()}


def compare(model, program, args, kwargs):
    """Values to 1e-6 and gradients of a weighted sum of all outputs to 1e-5, relatively."""
    outputs = [x for x in leaves(model(*args, **kwargs)) if torch.is_floating_point(x)]
    weights = [torch.randn_like(x) for x in outputs]
    sum((x * w).sum() for x, w in zip(outputs, weights, strict=True)).backward()
    inputs, keywords = of_arrays(args, kwargs)
    with tracer.Tape() as tape:
        found = [x for x in leaves(program(*inputs, **keywords)) if x.dtype.kind == "f"]
        sums = [np.sum(x * w.numpy()) for x, w in zip(found, weights, strict=True)]
        loss = sum(sums[1:], sums[0])
    for ours, theirs in zip(found, outputs, strict=True):
        wanted = theirs.detach().numpy()
        np.testing.assert_allclose(ours.data, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())
    gradients = tape.backward(loss)["grad"]
    theirs = {n: p.grad.numpy() for n, p in model.named_parameters() if p.grad is not None}
    largest = max(np.abs(g).max() for g in theirs.values())
    for path, wanted in theirs.items():
        scale = max(np.abs(wanted).max(), SMALLEST * largest)
        np.testing.assert_allclose(gradients[path], wanted, rtol=0, atol=1e-5 * scale)
    smaller = [path for path, g in theirs.items() if np.abs(g).max() < SMALLEST * largest]
    assert len(smaller) <= len(theirs) // 5, smaller


@pytest.mark.parametrize("name", [marked(name) for name in MODELS])
def test_values_and_gradients_are_pytorchs(name):
    model, args, kwargs = made(name)
    program = tracer_import.from_torch(model, args, kwargs)
    assert {n: tuple(p.shape) for n, p in program.named_parameters()} == {
        n: tuple(p.shape) for n, p in model.named_parameters()
    }
    assert program.state_dict().keys() >= {
        n for n, _ in model.named_parameters(remove_duplicate=False)
    }
    compare(model, program, args, kwargs)


@pytest.mark.programs
@pytest.mark.parametrize("name", ["resnet18", "convnext", "densenet121", "deit", "swin3d"])
def test_training_is_pytorchs(name):
    """With the statistics of the batch, and these as running ones afterwards."""
    model, args, kwargs = made(name, "train")
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "p") and "StochasticDepth" in type(module).__name__:
            module.p = 0.0
    program = tracer_import.from_torch(model, args, kwargs)
    assert program.training == any("BatchNorm" in type(m).__name__ or "Dropout" in type(m).__name__
                                   for m in model.modules())  # fmt: skip
    compare(model, program, args, kwargs)
    for path, buffer in model.named_buffers():
        ours = dict(program.named_buffers())[path]
        wanted = buffer.numpy()
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("name", [marked(name) for name in MODELS])
def test_core_aten_is_read_too(name, tmp_path):
    model, args, kwargs = made(name)
    if name == "gpt2":  # whose other attention PyTorch cannot decompose
        model.config._attn_implementation = "eager"
    exported = torch.export.export(model, args, kwargs).run_decompositions()
    torch.export.save(exported, tmp_path / "core.pt2")
    compare(model, tracer_import.load(tmp_path / "core.pt2"), args, kwargs)


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["vit", "bert", "llama"])
def test_quantities_are_those_of_torch_func(name):
    """Gradients of samples by vmap, and the Gauss-Newton diagonal by Jacobians."""
    model, args, kwargs = made(name)
    program = tracer_import.from_torch(model, args, kwargs)
    inputs, keywords = of_arrays(args, kwargs)
    targets = np.array([1, 0])

    def logits(output):
        first = leaves(output)[0]
        return (first.mean(1) if first.ndim > 2 else first)[:, :4]

    with tracer.Tape() as tape:
        loss = nn.cross_entropy(logits(program(*inputs, **keywords)), targets, reduction="sum")
    found = tape.backward(loss, ("grad_batch", "batch_l2", "diag_ggn_exact"))
    parameters = {n: p.detach() for n, p in model.named_parameters()}

    def alone(parameters, args, kwargs):
        return logits(torch.func.functional_call(model, parameters, args, kwargs))[0]

    total = dict.fromkeys(parameters, 0.0)
    for i, target in enumerate(targets):
        one = tuple(x[i : i + 1] for x in args), {k: x[i : i + 1] for k, x in kwargs.items()}
        output = alone(parameters, *one)
        gradient = torch.func.grad(
            lambda p, one=one, target=target: torch.nn.functional.cross_entropy(
                alone(p, *one), torch.tensor(target)
            )
        )(parameters)
        jacobian = torch.func.jacrev(lambda p, one=one: alone(p, *one))(parameters)
        p = torch.softmax(output, 0)
        curvature = torch.diag(p) - torch.outer(p, p)
        for path, wanted in gradient.items():
            ours = found["grad_batch"][path][i]
            scale = max(float(wanted.abs().max()), 1e-6)
            np.testing.assert_allclose(ours, wanted.numpy(), rtol=0, atol=1e-6 * scale)
            np.testing.assert_allclose(
                found["batch_l2"][path][i], float((wanted**2).sum()), rtol=1e-6, atol=1e-12
            )
            flat = jacobian[path].reshape(len(p), -1)
            diagonal = torch.einsum("ik,ij,jk->k", flat, curvature, flat)
            total[path] = total[path] + diagonal.reshape(wanted.shape).numpy()
    for path, wanted in total.items():
        scale = max(np.abs(wanted).max(), 1e-8)
        np.testing.assert_allclose(found["diag_ggn_exact"][path], wanted, rtol=0, atol=1e-6 * scale)
