"""Every setting of BackPACK's own tests, by kind of quantity, against BackPACK 1.7.1.

Where that is wrong or refuses (`backpack_settings.ELSEWHERE` says why), derivatives are taken by
PyTorch, one sample and one output at a time. All in double precision.
"""

import numpy as np
import pytest
from backpack_settings import REFUSED, SETTINGS, elsewhere

import tracer
import tracer_layers

torch = pytest.importorskip("torch")
backpack = pytest.importorskip("backpack")
ext = pytest.importorskip("backpack.extensions")
branching = pytest.importorskip("backpack.custom_module.branching")
pad = pytest.importorskip("backpack.custom_module.pad")
permute = pytest.importorskip("backpack.custom_module.permute")
reduce_tuple = pytest.importorskip("backpack.custom_module.reduce_tuple")
functional = torch.autograd.functional

pytestmark = [
    pytest.mark.oracle,
    # BackPACK and PyTorch on their own account
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
]


@pytest.fixture(autouse=True)
def _double_precision():
    """BackPACK makes some of its constants in PyTorch's default type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


# -- layers that `torch.nn` does not have ----------------------------------------------------------


class Permute(tracer_layers.Module):
    def __init__(self, *axes):
        self.axes = axes

    def forward(self, x):
        return np.transpose(x, self.axes)


class ReduceTuple(tracer_layers.Module):
    def __init__(self, index):
        self.index = index

    def forward(self, outputs):
        return outputs[self.index]


class Namespace:
    """The layers of a library, and others."""

    def __init__(self, layers, **others):
        self.layers = layers
        self.__dict__ |= others

    def __getattr__(self, name):
        return getattr(self.layers, name)


OURS = Namespace(tracer_layers, Permute=Permute, ReduceTuple=ReduceTuple, Pad=tracer_layers.PadNd)
THEIRS = Namespace(
    torch.nn,
    Parallel=branching.Parallel,
    Permute=permute.Permute,
    ReduceTuple=reduce_tuple.ReduceTuple,
    Pad=pad.Pad,
)


# -- a setting in both libraries -------------------------------------------------------------------


class Problem:
    """A setting at drawn parameters, statistics, inputs and targets."""

    def __init__(self, setting):
        torch.manual_seed(0)
        self.setting = setting
        self.model = setting.model(THEIRS).eval()
        for name, buffer in self.model.named_buffers():
            if "running" in name:
                buffer.uniform_(0.5, 1.5)
        if setting.integers is None:
            self.x = torch.rand(setting.shape)
        else:
            self.x = torch.randint(setting.integers, setting.shape)
        self.y = self._target(self.model(self.x).detach())

    def _target(self, output):
        name, _ = self.setting.loss
        if name == "CrossEntropyLoss":
            return torch.randint(output.shape[1], (output.shape[0], *output.shape[2:]))
        if name == "BCEWithLogitsLoss":
            return torch.randint(2, output.shape).to(output)
        return torch.rand(output.shape)

    def loss(self, nn, reduction=None):
        name, usual = self.setting.loss
        return getattr(nn, name)(reduction=reduction or usual)

    @property
    def names(self):
        return [name for name, _ in self.model.named_parameters()]

    def ours(self, quantities):
        """quantity -> a value for each parameter, in BackPACK's order and names."""
        net = self.setting.model(OURS).double().eval()
        state = [value.detach().numpy() for value in self.model.state_dict().values()]
        net.load_state_dict(dict(zip(net.state_dict(), state, strict=True)))
        with tracer.Tape() as tape:
            loss = self.loss(tracer_layers)(net(self.x.numpy()), self.y.numpy())
        results = tape.backward(loss, quantities)
        mine = [name for name, _ in net.named_parameters()]
        return {
            quantity: {name: values[own] for name, own in zip(self.names, mine, strict=True)}
            for quantity, values in results.items()
        }

    def backpacks(self, *extensions):
        """A function from an attribute to BackPACK's values by parameter."""
        model = self.setting.model(THEIRS).eval()
        model.load_state_dict(self.model.state_dict())
        loss = backpack.extend(self.loss(torch.nn))(backpack.extend(model)(self.x), self.y)
        with backpack.backpack(*extensions):
            loss.backward()
        parameters = dict(model.named_parameters())
        return lambda field: {name: getattr(p, field) for name, p in parameters.items()}

    # -- by brute force -----------------------------------------------------------------------

    def _outputs(self, name, samples):
        """A parameter's value, and the outputs of some samples as a function of it."""
        held = {key: value.detach() for key, value in self.model.named_parameters()}

        def output(value):
            state = {**held, name: value}
            return torch.func.functional_call(self.model, state, (self.x[samples],))

        return held[name], output

    def _of_one(self, n, name):
        """The same for sample n, and its part of the objective as a function of its output."""
        whole = self.loss(torch.nn)(self.model(self.x), self.y)
        total = self.loss(torch.nn, "sum")
        factor = float(whole / total(self.model(self.x), self.y))
        one = slice(n, n + 1)
        return *self._outputs(name, one), lambda f: factor * total(f, self.y[one])

    def grad_batch(self, name):
        """`[N, *p]`"""
        rows = []
        for n in range(len(self.x)):
            value, output, loss = self._of_one(n, name)
            value.requires_grad_()
            rows += torch.autograd.grad(loss(output(value)), value)
        return torch.stack(rows)

    def ggn_batch(self, name):
        """`[N, P, P]`"""
        blocks = []
        for n in range(len(self.x)):
            value, output, loss = self._of_one(n, name)
            out = output(value).detach()
            j = functional.jacobian(output, value).reshape(out.numel(), -1)
            h = functional.hessian(loss, out).reshape(out.numel(), -1)
            blocks.append(j.T @ h @ j)
        return torch.stack(blocks)

    def hessian_batch(self, name):
        """`[N, P, P]`"""
        blocks = []
        for n in range(len(self.x)):
            value, output, loss = self._of_one(n, name)
            h = functional.hessian(lambda p, loss=loss, output=output: loss(output(p)), value)
            blocks.append(h.reshape(value.numel(), -1))
        return torch.stack(blocks)

    def product(self, quantity, name, vector):
        """A parameter's block of the whole objective's matrix, times a vector."""
        value, output = self._outputs(name, slice(None))

        def loss(f):
            return self.loss(torch.nn)(f, self.y)

        if quantity == "hmp":
            return functional.hvp(lambda p: loss(output(p)), value, vector)[1]
        out, moved = functional.jvp(output, value, vector)
        curved = functional.hvp(loss, out, moved)[1]
        return functional.vjp(output, value, curved)[1]


def assert_close(mine, expected, message):
    expected = expected.detach().numpy() if torch.is_tensor(expected) else expected
    assert mine.shape == expected.shape, message
    scale = max(float(np.abs(expected).max(initial=0)), 1e-6)
    np.testing.assert_allclose(mine, expected, rtol=1e-9, atol=1e-10 * scale, err_msg=message)


def assert_diagonals(problem, results, whole, batch, blocks):
    """Diagonals of blocks, by brute force."""
    for name, p in problem.model.named_parameters():
        shares = blocks(name).diagonal(dim1=1, dim2=2).reshape(-1, *p.shape)
        assert_close(results[batch][name], shares, f"{batch} of {name}")
        assert_close(results[whole][name], shares.sum(0), f"{whole} of {name}")


def settings(kind):
    return pytest.mark.parametrize(
        "name", [pytest.param(name, id=name.replace(" ", "-")) for name in SETTINGS[kind]]
    )


# -- by kind ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "count"),
    [("first order", 47), ("second order", 99), ("hessian", 87), ("square root", 93)],
)
def test_there_are_as_many_settings_as_in_its_own_tests(kind, count):
    assert len(SETTINGS[kind]) >= count


PRODUCTS = {"ggnmp": ext.GGNMP, "hmp": ext.HMP}
FIRST_ORDER = ("grad_batch", "batch_l2", "sum_grad_squared", "variance")


@settings("first order")
def test_first_order(name):
    problem = Problem(SETTINGS["first order"][name])
    results = problem.ours(("grad", "batch_dot", *FIRST_ORDER))
    if elsewhere("first order", name):
        g = {key: problem.grad_batch(key) for key in problem.names}
        expected = {
            "grad": {key: value.sum(0) for key, value in g.items()},
            "grad_batch": g,
            "batch_l2": {key: (value**2).flatten(1).sum(1) for key, value in g.items()},
            "sum_grad_squared": {key: (value**2).sum(0) for key, value in g.items()},
            "variance": {key: value.var(0, correction=0) for key, value in g.items()},
        }
    else:
        theirs = problem.backpacks(
            ext.BatchGrad(), ext.BatchL2Grad(), ext.SumGradSquared(), ext.Variance()
        )
        expected = {quantity: theirs(quantity) for quantity in ("grad", *FIRST_ORDER)}
    for quantity, values in expected.items():
        for key, value in values.items():
            assert_close(results[quantity][key], value, f"{quantity} of {key}")
    for key, value in expected["grad_batch"].items():
        dots = value.flatten(1) @ value.flatten(1).T
        assert_close(results["batch_dot"][key], dots, f"batch_dot of {key}")


def check_diagonals(kind, name, quantities, extensions, blocks):
    problem = Problem(SETTINGS[kind][name])
    results = problem.ours(quantities)
    if elsewhere(kind, name):
        assert_diagonals(problem, results, *quantities, lambda key: blocks(problem, key))
        return
    theirs = problem.backpacks(*extensions)
    for quantity in quantities:
        for key, value in theirs(quantity).items():
            assert_close(results[quantity][key], value, f"{quantity} of {key}")


@settings("second order")
def test_second_order(name):
    check_diagonals(
        "second order",
        name,
        ("diag_ggn_exact", "diag_ggn_exact_batch"),
        (ext.DiagGGNExact(), ext.BatchDiagGGNExact()),
        Problem.ggn_batch,
    )


@settings("hessian")
def test_hessian(name):
    check_diagonals(
        "hessian",
        name,
        ("diag_h", "diag_h_batch"),
        (ext.DiagHessian(), ext.BatchDiagHessian()),
        Problem.hessian_batch,
    )


@settings("square root")
def test_square_root(name):
    """Square roots are unique up to rotation: their products with a vector are compared."""
    problem = Problem(SETTINGS["square root"][name])
    results = problem.ours(("sqrt_ggn_exact",))["sqrt_ggn_exact"]
    by_hand = elsewhere("square root", name)
    roots = {} if by_hand else problem.backpacks(ext.SqrtGGNExact())("sqrt_ggn_exact")
    vectors = np.random.default_rng(0)
    for key, mine in results.items():
        v = vectors.standard_normal(mine[0, 0].size)
        if by_hand:
            expected = problem.ggn_batch(key).numpy() @ v
        else:
            expected = each_block_times(roots[key].detach().numpy(), v)
        assert_close(each_block_times(mine, v), expected, f"sqrt_ggn_exact of {key}")


def each_block_times(rows, v):
    """`sum_c u_cn u_cn^T v` for each sample."""
    rows = rows.reshape(*rows.shape[:2], -1)
    return np.einsum("cn,cnp->np", rows @ v, rows)


@settings("kronecker")
@pytest.mark.parametrize("quantity", ["kflr", "kfra"])
def test_kronecker(name, quantity):
    problem = Problem(SETTINGS["kronecker"][name])
    results = problem.ours((quantity,))[quantity]
    theirs = problem.backpacks({"kflr": ext.KFLR, "kfra": ext.KFRA}[quantity]())
    for key, factors in theirs(quantity).items():
        for mine, factor in zip(results[key].factors, factors, strict=True):
            assert_close(mine, factor, f"{quantity} of {key}")


@settings("products")
@pytest.mark.parametrize("quantity", ["ggnmp", "hmp"])
def test_products(name, quantity):
    problem = Problem(SETTINGS["products"][name])
    results = problem.ours((quantity,))[quantity]
    by_hand = elsewhere("products", name)
    theirs = {} if by_hand else problem.backpacks(PRODUCTS[quantity]())(quantity)
    for key, p in problem.model.named_parameters():
        vectors = torch.randn(2, *p.shape)
        if by_hand:
            expected = torch.stack([problem.product(quantity, key, v) for v in vectors])
        else:
            expected = theirs[key](vectors)
        assert_close(results[key](vectors.numpy()), expected, f"{quantity} of {key}")


# -- why it is no reference elsewhere --------------------------------------------------------------

EXTENSIONS = {
    "second order": ext.DiagGGNExact,
    "hessian": ext.DiagHessian,
    "square root": ext.SqrtGGNExact,
    "products": ext.GGNMP,
}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(kind, name, id=f"{kind} of {name}".replace(" ", "-"))
        for kind in EXTENSIONS
        for name in SETTINGS[kind]
        if elsewhere(kind, name) == REFUSED
    ],
)
def test_it_refuses(kind, name):
    with pytest.raises((NotImplementedError, AssertionError, ValueError)):
        Problem(SETTINGS[kind][name]).backpacks(EXTENSIONS[kind]())


def test_its_squared_norms_of_grouped_convolutions_differ():
    problem = Problem(SETTINGS["first order"]["grouped Conv1d"])
    theirs = problem.backpacks(ext.BatchGrad(), ext.BatchL2Grad())
    norms = (theirs("grad_batch")["0.weight"] ** 2).flatten(1).sum(1)
    assert not torch.allclose(theirs("batch_l2")["0.weight"], norms)
