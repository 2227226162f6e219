"""Operators of imported programs against PyTorch's own samples of each, call by call.

PyTorch's tests have sample inputs for its functions. Each is traced before autograd, where
functions are what a program has (`linear`), and once more as it is dispatched, where they are
decomposed (`addmm`). Every operator that is called so and that is here is called with the same
arrays. Random ones are left out, and what `DEPARTURES` names.
"""

import warnings
from collections import Counter, defaultdict

import numpy as np
import pytest

import tracer
from tracer.extend import backend
from tracer_import.inplace import without_out
from tracer_import.operators import OPERATORS
from tracer_import.operators.aliases import ALIASES
from tracer_import.operators.context import Context, current
from tracer_import.program import Node

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest")  # which PyTorch's samples need
from torch.fx.experimental.proxy_tensor import make_fx  # noqa: E402
from torch.testing._internal.common_methods_invocations import op_db  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_flatten, tree_unflatten  # noqa: E402

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]

#: samples of each function, and calls of each operator, at most
SAMPLES, CALLS = 3, 30
RANDOM = "rand bernoulli dropout normal rrelu multinomial empty exponential uniform".split()
#: what differs, or is refused, and why
DEPARTURES = {
    "aten.embedding.default": "scale_grad_by_freq is refused",
    "aten.instance_norm.default": "running statistics are not moved, which is refused",
    "aten.scaled_dot_product_attention.default": "samples with dropout are random",
    "aten.softmax.int": "of nothing",
    "aten._softmax.default": "of nothing",
    "aten.log_softmax.int": "of nothing",
    "aten._log_softmax.default": "of nothing",
    "aten.as_strided.default": "of parts of arrays, whose memory no call tells",
    "aten.embedding_bag.padding_idx": "weights of bags of several sizes are refused",
    "aten._embedding_bag.default": "weights of bags of several sizes are refused",
    "aten._embedding_bag_forward_only.default": "weights of bags of several sizes are refused",
    "aten.multi_margin_loss.default": "of a number without axes",
    "aten.multilabel_margin_loss.default": "of a number without axes",
    "aten.multilabel_margin_loss_forward.default": "of a number without axes",
    "aten.einsum.default": "an ellipsis that is summed over",
    "aten.cosine_similarity.default": "of two vectors that are broadcast along the axis",
    "aten.tensordot.default": "axes of size 1 that are broadcast",
    "aten.linalg_svd.default": "singular vectors have either sign",
    "aten._linalg_svd.default": "singular vectors have either sign",
    "aten.linalg_eigh.default": "eigenvectors have either sign",
    "aten._linalg_eigh.default": "eigenvectors have either sign",
    "aten.index_add.default": "of an array without axes",
    "aten.index_copy.default": "of an array without axes",
    "aten.index_fill.int_Scalar": "of an array without axes",
    "aten.index_fill.int_Tensor": "of an array without axes",
}


def arrays(value):
    """Arguments as a program has them."""
    if isinstance(value, torch.Tensor):
        return value.detach().resolve_conj().resolve_neg().numpy().copy()
    if isinstance(value, list | tuple):
        return tuple(map(arrays, value))
    if isinstance(value, torch.dtype):
        return torch.empty(0, dtype=value).numpy().dtype  # an error where NumPy has none
    if isinstance(value, torch.device | torch.layout | torch.memory_format):
        return None
    return value


class Comparison:
    """Calls of operators, compared; `wrong` are those that differ."""

    def __init__(self):
        self.called = Counter()
        self.wrong = defaultdict(list)

    def compare(self, target, args, kwargs, result):
        name = str(target)
        known = OPERATORS.get(name)
        if known is None or self.called[name] >= CALLS or any(r in name for r in RANDOM):
            return
        try:
            inputs, keywords = arrays(args), {key: arrays(v) for key, v in kwargs.items()}
        except (TypeError, RuntimeError):  # a dtype or a layout that NumPy has none for
            return
        self.called[name] += 1
        try:
            _same(known.function(*inputs, **keywords), result)
        except Exception as error:
            shapes = [getattr(x, "shape", x) for x in inputs]
            self.wrong[name].append(f"{shapes} {keywords}: {type(error).__name__}: {error}"[:300])


def _same(found, wanted):
    found, wanted = (x if isinstance(x, tuple | list) else (x,) for x in (found, wanted))
    for ours, theirs in zip(found, wanted, strict=False):
        if ours is None or not isinstance(theirs, torch.Tensor):
            continue
        ours = np.asarray(ours.data if isinstance(ours, tracer.Tensor) else ours)
        assert ours.shape == tuple(theirs.shape)
        np.testing.assert_allclose(
            ours, theirs.detach().resolve_conj().resolve_neg().numpy(), rtol=1e-6, atol=1e-8
        )


class Dispatched(TorchDispatchMode):
    """Compares what is called when PyTorch runs."""

    def __init__(self, comparison):
        super().__init__()
        self.comparison = comparison

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if not str(func).partition(".")[2].partition(".")[0].endswith("_"):
            self.comparison.compare(func, args, kwargs or {}, result)
        return result


def traced(function, sample, comparison):
    """Compares what a program of the function has."""
    values, spec = tree_flatten((sample.input, sample.args, sample.kwargs))
    tensors = [x for x in values if isinstance(x, torch.Tensor)]

    def call(*given):
        rest = iter(given)
        filled = [next(rest) if isinstance(x, torch.Tensor) else x for x in values]
        first, args, kwargs = tree_unflatten(filled, spec)
        return function(first, *args, **kwargs)

    class Interpreter(torch.fx.Interpreter):
        def call_function(self, target, args, kwargs):
            result = super().call_function(target, args, kwargs)
            comparison.compare(target, args, kwargs, result)
            return result

    Interpreter(make_fx(call, pre_dispatch=True)(*tensors)).run(*tensors)


def test_other_names_take_and_give_what_the_operators_do():
    """Each takes arguments of the same types; where one array is all, it gives the same."""
    x = torch.tensor([0.3, 0.5, 0.7], dtype=torch.float64)
    compared = 0
    for alias, name in ALIASES.items():
        ours, theirs = (getattr(torch.ops.aten, each) for each in (alias, name))
        shared = set(ours.overloads()) & set(theirs.overloads())
        shared = {each for each in shared if f"aten.{name}.{each}" in OPERATORS}
        assert shared, alias
        for overload in shared:
            schemas = (getattr(each, overload)._schema for each in (ours, theirs))
            one, other = ([str(a.type) for a in s.arguments] for s in schemas)
            assert one == other, alias
            if one == ["Tensor"]:
                found = (getattr(each, overload)(x + (name == "acosh")) for each in (ours, theirs))
                assert torch.equal(*found), alias
                compared += 1
    assert compared > 15


#: operators with `out=` of which another overload is taken, or none that is here
SELDOM = (
    "xlogy.OutTensor xlogy.OutScalar_Self xlogy.OutScalar_Other norm.dtype_out mean.dtype_out "
    "bernoulli.float_out empty.out arange.start_out"
).split()
#: what operators without `out` take besides
OF_NEW = {"dtype", "layout", "device", "pin_memory"}


def test_what_writes_into_out_is_the_operator_that_takes_the_same():
    schemas = defaultdict(dict)
    for schema in torch._C._jit_get_all_schemas():
        packet, _, name = schema.name.partition("::")
        if packet == "aten":
            schemas[name][schema.overload_name or "default"] = schema
    compared, wrong = 0, {}
    for name, overloads in schemas.items():
        for overload, schema in overloads.items():
            if [a.name for a in schema.arguments if a.is_out] != ["out"]:
                continue
            same = {f"aten.{name}.{o}" for o, other in overloads.items() if _takes(other, schema)}
            target = f"aten.{name}.{overload}"
            if known := same & OPERATORS.keys():
                compared += 1
                if (taken := without_out(Node(target, (), {}, ())).target) not in known:
                    wrong[target.removeprefix("aten.")] = taken
    assert compared > 250
    assert sorted(wrong) == sorted(SELDOM)


def _takes(schema, writes):
    """Whether an operator takes what one with `out` does, and has none."""
    if any(a.is_out for a in schema.arguments):
        return False
    wanted, given = (
        [(a.name, str(a.type)) for a in each.arguments if a.name not in OF_NEW and not a.is_out]
        for each in (writes, schema)
    )
    return wanted == given


@pytest.mark.parametrize("part", range(4))
def test_operators_are_pytorchs_at_its_own_samples(part):
    double = np.dtype(np.float64)
    token = current.set(Context(backend.NUMPY, double, double))
    comparison = Comparison()
    for function in op_db[part::4]:
        if torch.float64 not in function.dtypes:
            continue
        samples = function.sample_inputs("cpu", torch.float64, requires_grad=False)
        for sample, _ in zip(samples, range(SAMPLES), strict=False):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    traced(function, sample, comparison)
                    with Dispatched(comparison):
                        function(sample.input, *sample.args, **sample.kwargs)
                except Exception:  # PyTorch's own: samples that cannot be traced
                    continue
    current.reset(token)
    assert len(comparison.called) > 60
    wrong = {name: found for name, found in comparison.wrong.items() if name not in DEPARTURES}
    assert not wrong, wrong
