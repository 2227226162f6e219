"""Names that users of other libraries try, and what to write for them here."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tracer.errors import HintError, suggestion

#: attribute of `tracer` that there is not -> what to write
PACKAGE = {
    "no_grad": "write `with tracer.pause():`, or leave it out: nothing is recorded without a tape",
    "inference_mode": "write `with tracer.pause():`, or leave it out: nothing is recorded without "
    "a tape",
    "enable_grad": "operations are recorded inside of `with tracer.Tape() as tape:`",
    "set_grad_enabled": "operations are recorded inside of `with tracer.Tape() as tape:`, and not "
    "inside of `with tracer.pause():`",
    "is_grad_enabled": "tracer.current_tape() is None where nothing is recorded",
    "tensor": "a NumPy array is taken as it is; tracer.parameter(array) wants a gradient, "
    "tracer.batch(array) holds samples",
    "as_tensor": "a NumPy array is taken as it is; tracer.parameter(array) wants a gradient, "
    "tracer.batch(array) holds samples",
    "from_numpy": "a NumPy array is taken as it is; tracer.parameter(array) wants a gradient, "
    "tracer.batch(array) holds samples",
    "Variable": "write tracer.parameter(array)",
    "Parameter": "write tracer.parameter(array)",
    "GradientTape": "write `with tracer.Tape() as tape:`, then tape.backward(loss)['grad']",
    "numpy": "NumPy's own functions take tensors: write np.",
    "nn": "write `import tracer_layers as nn`",
    "optim": "there are no optimisers: for each parameter p write "
    "p.data = p.data - lr * results['grad'][p]",
    "autograd": "write tape.backward(loss)['grad'], or tracer.grad(function)(x)",
    "func": "the transforms are here: tracer.grad, tracer.vjp, tracer.jvp, tracer.jacobian, "
    "tracer.hessian",
    "jacrev": "write tracer.jacobian(function)(x)",
    "jacfwd": "write tracer.jacobian(function)(x)",
    "vmap": "ask a tape for a quantity of single samples, such as 'grad_batch'",
    "jit": "there is nothing to compile: call the function",
    "compile": "there is nothing to compile: call the function",
    "stop_gradient": "write tensor.detach()",
    "manual_seed": "write tracer.seed(n)",
    "cuda": "write tracer.to_device(x, 'cuda') and tracer.cuda_available()",
    "device": "a device is a string, 'cpu' or 'cuda': tracer.to_device(x, 'cuda')",
    "save": "write np.savez(path, **model.state_dict())",
    "load": "write model.load_state_dict(np.load(path))",
    "utils": "write the loop over batches of your arrays yourself",
    "cat": "write np.concatenate(tensors, axis=...)",
    "mm": "write x @ y",
    "bmm": "write x @ y",
    "sigmoid": "write tracer.expit(x)",
    "relu": "write np.maximum(x, 0), or relu of tracer_layers",
    "softmax": "write softmax of tracer_layers",
    "rand": "write np.random.default_rng(seed).random(shape)",
    "randn": "write np.random.default_rng(seed).standard_normal(shape)",
    "randint": "write np.random.default_rng(seed).integers(low, high, shape)",
    "randperm": "write np.random.default_rng(seed).permutation(n)",
    "clamp": "write np.clip(x, low, high)",
    "unsqueeze": "write np.expand_dims(x, axis)",
    "gather": "write np.take_along_axis(x, index, axis)",
}


def package(name: str) -> str | None:
    """What to write for an attribute of `tracer`: NumPy's functions are NumPy's."""
    if name in PACKAGE:
        return PACKAGE[name]
    if not name.startswith("_") and callable(getattr(np, name, None)):
        return f"write np.{name}"
    return None


def missing(owner: str, name: str, hint: str | None, known: Iterable[str]) -> AttributeError:
    """The error for an attribute that `owner` does not have, to be raised."""
    message = f"{owner} has no attribute {name!r}"
    if hint is not None:
        return HintError(f"{message}: {hint}")
    if name.startswith("_"):
        return AttributeError(message)
    known = list(known)
    spelt = {other for other in known if other.lower() == name.lower()}  # nn.Relu is ReLU
    for other in sorted(spelt, key=lambda other: other[0] != name[0]):
        return AttributeError(f"{message}. Did you mean {other!r}?")
    return AttributeError(f"{message}.{suggestion(name, known)}")
