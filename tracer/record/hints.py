"""What users of other libraries look for, and what stands for it here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tracer.errors import HintError, suggestion

#: attributes of tensors elsewhere, most of them PyTorch's
TENSOR = {
    "numpy": "tensor.data is the NumPy array",
    "cpu": "tracer.asnumpy(tensor) copies it to the host",
    "cuda": "tracer.to_device(array, 'cuda') moves an array before it is recorded",
    "to": "tracer.to_device(array, device) moves an array, and tensor.astype(dtype) converts it",
    "backward": "tape.backward(loss) gives the gradients, tape being the block's tracer.Tape()",
    "grad": "tape.backward(loss)['grad'][parameter] is the gradient",
    "grad_fn": "tensor.node is what recorded it",
    "retain_grad": "tracer.grad and tracer.vjp give derivatives by intermediate values",
    "is_leaf": "tensor.is_parameter says whether it is a parameter",
    "device": "tensor.data is the array, which knows its device",
    "clone": "tensor.copy() is a copy that gradients flow through",
    "detach_": "write t = t.detach()",
    "view": "tensor.reshape(shape) does it",
    "view_as": "tensor.reshape(other.shape) does it",
    "reshape_as": "tensor.reshape(other.shape) does it",
    "permute": "tensor.transpose(axes) does it",
    "unsqueeze": "np.expand_dims(tensor, axis) or tensor[:, None] does it",
    "clamp": "np.clip(tensor, low, high) does it",
    "pow": "tensor ** exponent does it",
    "at": "tracer.at(tensor)[index].set(values), and .add, .multiply, .min, .max, give a new one",
    "atan2": "np.arctan2(tensor, other) does it",
    "cholesky": "np.linalg.cholesky(tensor) does it",
    "data_ptr": "tensor.data.ctypes.data is where the array lies",
    "det": "np.linalg.det(tensor) does it",
    "equal": "np.array_equal(tensor, other) does it",
    "erf": "tracer.erf(tensor) does it",
    "index_add": "tracer.at(tensor)[index].add(values) does it",
    "inverse": "np.linalg.inv(tensor) does it",
    "is_contiguous": "tensor.data.flags says how the array lies in memory",
    "is_floating_point": "tensor.dtype.kind == 'f' says so",
    "lerp": "tensor + weight * (other - tensor) does it",
    "lgamma": "scipy.special.gammaln(tensor) does it",
    "masked_select": "tensor[mask] does it",
    "movedim": "np.moveaxis(tensor, source, destination) does it",
    "mv": "tensor @ vector does it",
    "narrow": "a slice does it, as tensor[:, start : start + length]",
    "neg": "-tensor does it",
    "nelement": "tensor.size is the number of elements",
    "new_ones": "np.ones(shape, tensor.dtype) makes a constant",
    "new_zeros": "np.zeros(shape, tensor.dtype) makes a constant",
    "reciprocal": "1 / tensor does it",
    "register_hook": "tracer.grad and tracer.vjp give derivatives by intermediate values",
    "rsqrt": "1 / np.sqrt(tensor) does it",
    "scatter": "tracer.at(tensor)[index].set(values) does it",
    "select": "an index does it, as tensor[:, i]",
    "stop_gradient": "tensor.detach() does it",
    "swapdims": "np.swapaxes(tensor, i, j) does it",
    "tensor_split": "np.array_split(tensor, count, axis) does it",
    "to_numpy": "tensor.data is the NumPy array",
    "topk": "np.flip(np.sort(tensor, axis), axis) has the largest first, np.argsort the places",
    "kthvalue": "np.sort(tensor, axis) has them in order",
    "ptp": "np.ptp(tensor, axis) does it",
    "values": "np.max(tensor, axis) and its kin give the values alone: leave it out",
    "indices": "np.argmax(tensor, axis) and its kin give the places",
    "eq": "tensor == other does it",
    "ne": "tensor != other does it",
    "lt": "tensor < other does it",
    "le": "tensor <= other does it",
    "gt": "tensor > other does it",
    "ge": "tensor >= other does it",
    "expand": "np.broadcast_to(tensor, shape) does it",
    "expand_as": "np.broadcast_to(tensor, other.shape) does it",
    "contiguous": "leave it out: NumPy's arrays need none",
    "flip": "np.flip(tensor, axis) does it",
    "roll": "np.roll(tensor, shift, axis) does it",
    "tile": "np.tile(tensor, repeats) does it",
    "chunk": "np.array_split(tensor, count, axis) does it",
    "split": "np.split(tensor, cuts, axis) does it",
    "unbind": "np.unstack(tensor, axis=axis) does it",
    "gather": "np.take_along_axis(tensor, indices, axis) does it",
    "index_select": "np.take(tensor, indices, axis) does it",
    "masked_fill": "np.where(mask, value, tensor) does it",
    "scatter_add": "tracer.at(tensor)[index].add(values) does it",
    "where": "np.where(condition, tensor, other) does it",
    "dim": "tensor.ndim is the number of axes",
    "numel": "tensor.size is the number of elements",
    "t": "tensor.T does it",
    "mm": "tensor @ other does it",
    "bmm": "tensor @ other does it",
    "matmul": "tensor @ other does it",
    "norm": "np.linalg.norm(tensor) does it",
    "float": "tensor.astype(np.float32) does it",
    "double": "tensor.astype(np.float64) does it",
    "half": "tensor.astype(np.float16) does it",
    "int": "tensor.data.astype(int) does it",
    "long": "tensor.data.astype(np.int64) does it",
    "bool": "tensor.data.astype(bool) does it",
    "type": "tensor.astype(dtype) does it",
    "softmax": "tracer_layers.functional.softmax(tensor, axis) does it",
    "log_softmax": "tracer_layers.functional.log_softmax(tensor, axis) does it",
    "relu": "np.maximum(tensor, 0) does it",
    "sigmoid": "tracer.expit(tensor) does it",
    "logsumexp": "tracer.logsumexp(tensor, axis) does it",
    "fill": "np.full_like(tensor.data, value) makes a new array",
    "fill_": "np.full_like(tensor.data, value) makes a new array",
    "zero_": "np.zeros_like(tensor) makes a new array",
    "copy_": "parameter.data = array sets the values of a parameter",
    "partition": "np.partition(tensor, kth) gives a new one",
    "sort": "NumPy's sorts in place, and tensors are not written into: write t = np.sort(t), or "
    "np.flip(np.sort(t, axis), axis) for the largest first",
    "put": "tracer.at(tensor)[index].set(values) gives a new one",
    "resize": "np.resize of tensor.data, or tensor.reshape(shape), gives a new one",
    "itemset": "tracer.at(tensor)[index].set(value) gives a new one",
    "flat": "tensor.reshape(-1) does it",
    "tobytes": "tensor.data.tobytes() does it",
    "view_as_complex": "t[..., 0] + 1j * t[..., 1] makes complex numbers",
    "compress": "tensor[condition] does it, on the axis that is indexed",
    "choose": "np.where(condition, tensor, other) does it",
    "to_device": "tracer.to_device(array, device) moves an array, before it is recorded",
} | {
    name: f"tensor.data.{name} is of the array"
    for name in (
        "nonzero searchsorted argpartition flags strides itemsize base ctypes dump dumps getfield "
        "tofile"
    ).split()
} | dict.fromkeys(
    ("byteswap", "setfield", "setflags"),
    "tensors are not written into: change the array before it is recorded",
) | {
    name: f"np.{name}(tensor) does it"
    for name in (
        "abs exp log sqrt sin cos tanh square floor ceil sign maximum minimum absolute allclose "
        "amax amin broadcast_to count_nonzero cosh cross diag diff exp2 expm1 fmax fmin fmod hypot "
        "hsplit isfinite isinf isnan log10 log1p log2 logaddexp logical_not median moveaxis "
        "nan_to_num outer remainder rot90 sinh tan tril triu trunc vsplit"
    ).split()
} | {
    f"{name}_": f"write t = t {sign} other, or t {sign}= other"
    for name, sign in {"add": "+", "sub": "-", "mul": "*", "div": "/"}.items()
}  # fmt: skip

#: attributes of tapes elsewhere
TAPE = {
    "gradient": "tape.backward(loss)['grad'] has the gradients by parameter",
    "grad": "tape.backward(loss)['grad'] has the gradients by parameter",
    "jacobian": "tracer.jacobian(function)(x) does it",
    "batch_jacobian": "ask tape.backward for 'grad_batch', or tracer.jacobian(function)(x)",
    "hessian": "tape.backward(loss, 'hessian')['hessian'] is an operator, and "
    "tracer.hessian(function)(x) an array",
    "watch": "tracer.parameter(array) makes what has a gradient, and tracer.Tape(watch=True) keeps "
    "statistics",
    "watched_variables": "the results of tape.backward(loss) name the parameters",
    "stop_recording": "write `with tracer.pause():`",
    "reset": "make a new tracer.Tape() for each step",
    "clear": "make a new tracer.Tape() for each step",
    "zero_grad": "tape.backward returns gradients and stores none: leave the call out",
    "step": "for each parameter p write p.data = p.data - lr * results['grad'][p]",
}

#: attributes of linear operators elsewhere, for the blocks of `kfac` and its kin
KRONECKER = {
    "inv": "block.inverse(damping) is a block, too: block.inverse(damping) @ vector",
    "solve": "block.inverse(damping) @ vector does it",
    "to_dense": "block.dense() is the matrix, over the parameter's elements in row-major order",
    "todense": "block.dense() is the matrix, over the parameter's elements in row-major order",
    "toarray": "block.dense() is the matrix, over the parameter's elements in row-major order",
    "numpy": "block.dense() is the matrix, over the parameter's elements in row-major order",
    "diagonal": "np.diag(block.dense()) is the diagonal, and the quantity diag_ggn_exact the exact "
    "one",
    "matmul": "block @ vector does it",
    "mv": "block @ vector does it",
    "matmat": "block @ vector does it, for a vector at a time",
    "dot": "block @ vector does it",
    "T": "a block is symmetric",
    "eigenvalues": "block.eigh() gives eigenvalues and eigenvectors of each factor",
    "eigvalsh": "block.eigh() gives eigenvalues and eigenvectors of each factor",
    "logdet": "block.eigh() gives eigenvalues and eigenvectors of each factor",
    "trace": "the block's is the product of those of its factors, np.trace(factor)",
    "A": "block.factors is (output factor, input factor)",
    "G": "block.factors is (output factor, input factor)",
}

#: keywords of PyTorch's functions -> NumPy's
KEYWORDS = {"dim": "axis", "keepdim": "keepdims", "dim0": "axis1", "dim1": "axis2"}

#: those of a method that has them by other names
KEYWORDS_OF = {"tensor.diagonal": {"dim1": "axis1", "dim2": "axis2"}}

#: keywords of PyTorch's without a counterpart -> what to write
OTHER_KEYWORDS = {
    "unbiased": "write ddof=1 for unbiased=True, ddof=0 for unbiased=False",
    "descending": "write np.flip(t, axis) of what is in order for descending=True",
}

#: options of a sweep elsewhere -> what to write
SWEEP = {
    "create_graph": "open the tape inside of another one, whose record the sweep is on, or use "
    "tracer.grad of tracer.grad",
    "retain_graph": "leave it out: a tape is swept as often as one likes",
    "inputs": "write parameters=",
    "gradient": "write tape.backward(np.sum(weights * output))",
}

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
    "optim": "optimisers are in tracer_training, as tracer_training.AdamW(model.parameters())",
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
    "save": "write model.save(path), or np.savez(path, **arrays)",
    "load": "write model.load(path), or np.load(path)",
    "utils": "data sets and loaders are in tracer_training, as tracer_training.DataLoader",
    "elementwise_grad": "write tracer.grad of a sum: tracer.grad(lambda x: np.sum(function(x)))",
    "egrad": "write tracer.grad of a sum: tracer.grad(lambda x: np.sum(function(x)))",
    "hessian_vector_product": "write tracer.hvp(function)(x, vector)",
    "hessian_tensor_product": "write tracer.hvp(function)(x, vector)",
    "make_hvp": "write tracer.hvp(function)(x, vector)",
    "make_ggnvp": "write tracer.ggn_vp(function, loss)(x, vector)",
    "make_vjp": "write tracer.vjp(function, x)",
    "make_jvp": "write tracer.jvp(function, (x,), (vector,))",
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


class Hint:
    """A name that a class does not have: reading it raises `HintError`, and `hasattr` is False.

    A `__getattr__` of the class would do the same, and make each of its attributes slower to read.
    """

    def __init__(self, owner: str, name: str, hint: str):
        self.message = f"{owner} has no attribute {name!r}: {hint}"

    def __get__(self, instance: object, owner: type) -> Any:
        raise HintError(self.message)


def give(owner: type, called: str, table: Mapping[str, str]) -> None:
    """Let a class have the hints of a table for what it does not have."""
    for name, hint in table.items():
        if not hasattr(owner, name):
            setattr(owner, name, Hint(called, name, hint))


def keyword(function: str, given: Mapping[str, object]) -> str | None:
    """What to write for keywords of PyTorch's; None if there are none."""
    table = {**KEYWORDS, **KEYWORDS_OF.get(function, {})}
    known = [f"{table[name]}= for {name}=" for name in given if name in table]
    if known:
        return f"{function} takes NumPy's keywords: write {', '.join(known)}"
    other = [OTHER_KEYWORDS[name] for name in given if name in OTHER_KEYWORDS]
    return f"{function} takes NumPy's keywords: {', and '.join(other)}" if other else None


def sweep(given: Mapping[str, object]) -> str:
    """What to write for options that `Tape.backward` does not have."""
    name = next(iter(given))
    way = SWEEP.get(name, "help(tracer.Tape.backward) names its options")
    return f"tape.backward takes no {name}=: {way}"


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
