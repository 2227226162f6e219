"""The table of layers and quantities: `python tests/tracer_quantities/coverage_table.py > PAGE`.

Every quantity is computed on a small network around every layer and compared with its definition.
The definitions come from central differences: Jacobians of the forward pass, and derivatives of
gradients that equal those.
"""

import re
from functools import cached_property

import numpy as np
from brute_force import assert_close, expected_first_order
from coverage_cases import CASES, SAMPLES, Net

import tracer
import tracer_layers as nn
import tracer_quantities as tq
from tracer.errors import TracerError

STEP, DRAWS = 1e-6, 1000

EXACT, SAMPLED, STRUCTURED = "exact", "sampled", "structured"
STRUCTURED_SAMPLED = "structured, sampled"

#: an error's text -> why the quantity is undefined there
UNDEFINED = {
    "mixes samples through a statistic": "The layer mixes the samples of a batch, so that no "
    "sample has a gradient of its own below it. In evaluation it is an affine map.",
    "defined for independent samples": "The recursion averages over independent samples, and the "
    "layer mixes those of a batch.",
    "defined for parameters that the model is linear": "Products with the positive-curvature "
    "Hessian are of parameters whose every use reaches the loss apart from the others and from "
    "other samples; here uses meet on the way, so that the Hessian is no sum of signed squares.",
    "samples targets from the model's likelihood": "Targets are sampled from a likelihood whose "
    "Fisher information is the Hessian of the loss; this loss has none.",
    "not convex": "The loss is not convex in what it judges: where it asks vectors to be apart, or "
    "sums over all ways to lie along a sequence, the Gauss-Newton matrix is no sum of squares.",
    "is not a registered loss": "The loss is code around a distance of yours: "
    "`Tape.backward(loss, ..., outputs=f)` is told what the model gives.",
    "used in several different ways": "One weight is used by maps of different kinds, whose "
    "factors are of different spaces.",
}

PAGE = """---
hide:
  - toc
---

# Coverage

Every layer of `tracer_layers` under every quantity of `tracer_quantities`. The tests make this
page: they compute each cell on a small network and compare it with its definition, which comes
from central differences. Functions of NumPy and SciPy, which have every quantity, too, are on
[a page of their own](functions.md).

```console
$ python tests/tracer_quantities/coverage_table.py > docs/reference/coverage.md
```

- exact: equal to the definition up to rounding, for the parameters of the layer and of those below.
- sampled: equal in expectation over targets drawn from the model's likelihood.
- structured: a Kronecker product in place of the block, as defined in
  [Quantities](quantities.md). It is of the layer's own parameters where it has some, of the linear
  map below it otherwise. Where a cell says exact or sampled instead, all of the layer's own blocks
  come out whole.
- undefined: an error, for the reason in the note.

{table}

{notes}
"""


class Reference:
    """What follows by definition: `gradients [N, P]`, `ggns`, `hessians [N, P, P]`."""

    def __init__(self, case):
        self.case = case
        tracer.seed(0)
        rng = np.random.default_rng(3)
        self.net = Net(case).double()
        self.inputs = (
            rng.integers(0, case.bound, (SAMPLES, *case.shape))
            if case.bound
            else rng.standard_normal((SAMPLES, 1))
        )
        self.leaves = dict(self.net.named_parameters())
        for leaf in self.leaves.values():
            leaf.data = leaf.data + 0.5 * rng.standard_normal(leaf.shape)
        stops = np.cumsum([leaf.size for leaf in self.leaves.values()]).tolist()
        self.spans = {
            name: slice(stop - leaf.size, stop)
            for (name, leaf), stop in zip(self.leaves.items(), stops, strict=True)
        }
        self.output = self.forward().data
        self.target = (case.target or (lambda rng: rng.standard_normal(self.output.shape)))(rng)
        self.criterion = case.make() if case.target else nn.MSELoss()
        self.weight = case.weight if case.target else 1 / self.output.size

    def forward(self):
        """The output; what is random is the same every time."""
        tracer.seed(1)
        return self.net(self.inputs)

    def loss(self, output):
        return self.criterion(output, self.target, *self.case.given)

    def backward(self, *quantities):
        with tracer.Tape() as tape:
            loss = self.loss(self.forward())
        return tape.backward(loss, quantities, rng=np.random.default_rng(6), undefined="raise")

    def differences(self, function):
        """Central differences `[P, ...]` of a function of the parameters as they are."""
        rows = []
        for leaf in self.leaves.values():
            kept = leaf.data
            for index in np.ndindex(leaf.shape):
                values = []
                for sign in (1, -1):
                    leaf.data = kept.copy()
                    leaf.data[index] += sign * STEP
                    values.append(function())
                rows.append((values[0] - values[1]) / (2 * STEP))
            leaf.data = kept
        return np.stack(rows)

    @cached_property
    def jacobian(self):
        """`[N, D, P]`."""
        rows = self.differences(lambda: self.forward().data)
        return np.moveaxis(rows.reshape(len(rows), SAMPLES, -1), 0, -1)

    @cached_property
    def gradients(self):
        slopes = tracer.grad(self.loss)(self.output).reshape(SAMPLES, -1)
        return np.einsum("nd,ndp->np", slopes, self.jacobian)

    @cached_property
    def ggns(self):
        hessian = np.zeros((SAMPLES, self.output[0].size, self.output[0].size))
        slope = tracer.grad(self.loss)
        for n, d in np.ndindex(hessian.shape[:2]):
            moved = []
            for sign in (1, -1):
                output = self.output.reshape(SAMPLES, -1).copy()
                output[n, d] += sign * STEP
                moved.append(slope(output.reshape(self.output.shape)).reshape(SAMPLES, -1)[n])
            hessian[n, d] = (moved[0] - moved[1]) / (2 * STEP)
        return np.swapaxes(self.jacobian, 1, 2) @ hessian @ self.jacobian

    @cached_property
    def coupled(self):
        """Whether a sample's output depends on the other samples."""
        try:
            self.backward("grad_batch")
        except tracer.BatchError:
            return True
        return False

    @cached_property
    def hessians(self):
        """Of the samples, `[N, P, P]`; where they are coupled, of all together, `[1, P, P]`."""
        quantity = "grad" if self.coupled else "grad_batch"

        def slopes():
            found = self.backward(quantity)[quantity]
            parts = [found[name].reshape(-1 if self.coupled else SAMPLES, leaf.size)
                     for name, leaf in self.leaves.items()]  # fmt: skip
            return np.concatenate([p.reshape(-1, p.shape[-1]) for p in parts], axis=1)

        return np.moveaxis(self.differences(slopes), 0, -1)


class Checks:
    """The values of quantities against their definitions; each check returns the cell's text."""

    def __init__(self, reference):
        self.reference = reference
        self.whole = reference.ggns.sum(0)
        for name, span in reference.spans.items():
            assert reference.case.target or self.whole[span, span].any(), f"{name} changes nothing"

    def cell(self, quantity):
        """The text of a quantity's cell, or an AssertionError if its value is wrong."""
        try:
            return getattr(self, quantity.name, self.first_order)(quantity)
        except TracerError as error:
            for text, reason in UNDEFINED.items():
                if text in str(error):
                    return f"undefined: {reason}"
            raise AssertionError(f"{quantity.name}: {error}") from error

    def value(self, quantity):
        return self.reference.backward(quantity)[quantity.name]

    def each(self, value, whole):
        """Per parameter: its name, its shape, its value, its part of `[..., P, P]`."""
        for name, span in self.reference.spans.items():
            shape = self.reference.leaves[name].shape
            yield name, shape, value[name], whole[..., span, span]

    def diagonals(self, quantity, whole, rtol=1e-6):
        for name, shape, value, block in self.each(self.value(quantity), whole):
            expected = np.diagonal(block, axis1=-2, axis2=-1)
            expected = expected.reshape(*expected.shape[:-1], *shape)
            assert_close(value, expected, f"{quantity.name} of {name}", rtol)

    def products(self, quantity, whole):
        """Of a callable with every unit vector."""
        for name, shape, value, block in self.each(self.value(quantity), whole):
            product = value(np.eye(len(block)).reshape(-1, *shape)).reshape(block.shape)
            assert_close(product, block, f"{quantity.name} of {name}", 1e-6)
        return EXACT

    def matrix(self, quantity):
        """The operator as an array, in the order of the reference's parameters."""
        operator = self.value(quantity)
        dense = operator.matmat(np.eye(operator.shape[0]))
        order = [
            np.arange(operator.shape[0])[operator.parameters[name]] for name in self.reference.spans
        ]
        return dense[np.ix_(*[np.concatenate(order)] * 2)]

    def likely(self, value, expected, message):
        """Of many draws, so that the deviation is a few per cent."""
        assert np.abs(value - expected).max() <= 0.25 * np.abs(expected).max() + 1e-12, message

    # -- first derivatives ------------------------------------------------------------------------

    def first_order(self, quantity):
        values = self.value(quantity)
        for name, span in self.reference.spans.items():
            g = self.reference.gradients[:, span]
            g = g.reshape(SAMPLES, *self.reference.leaves[name].shape)
            expected = expected_first_order(g)[quantity.name]
            assert_close(values[name], expected, f"{quantity.name} of {name}", 1e-6)
        return EXACT

    # -- the Gauss-Newton matrix ------------------------------------------------------------------

    def sqrt_ggn_exact(self, quantity):
        for name, _, value, blocks in self.each(self.value(quantity), self.reference.ggns):
            rows = value.reshape(len(value), SAMPLES, -1)
            gram = np.einsum("cnp,cnq->npq", rows, rows)
            assert_close(gram, blocks, f"sqrt_ggn_exact of {name}", 1e-6)
        return EXACT

    def diag_ggn_exact(self, quantity):
        self.diagonals(quantity, self.whole)
        return EXACT

    def diag_ggn_exact_batch(self, quantity):
        self.diagonals(quantity, self.reference.ggns)
        return EXACT

    def sqrt_ggn_mc(self, quantity):
        values = self.value(type(quantity)(DRAWS))
        for name, _, value, blocks in self.each(values, self.reference.ggns):
            rows = value.reshape(DRAWS, SAMPLES, -1)
            self.likely(np.einsum("mnp,mnq->npq", rows, rows), blocks, f"sqrt_ggn_mc of {name}")
        return SAMPLED

    def diag_ggn_mc(self, quantity):
        return self.sampled_diagonal(quantity, self.whole)

    def diag_ggn_mc_batch(self, quantity):
        return self.sampled_diagonal(quantity, self.reference.ggns)

    def sampled_diagonal(self, quantity, whole):
        values = self.value(type(quantity)(DRAWS))
        for name, shape, value, block in self.each(values, whole):
            expected = np.diagonal(block, axis1=-2, axis2=-1)
            expected = expected.reshape(*expected.shape[:-1], *shape)
            assert value.shape == expected.shape
            self.likely(value, expected, f"{quantity.name} of {name}")
        return SAMPLED

    def kflr(self, quantity):
        self.below(self.value(quantity), lambda a, b, what: assert_close(a, b, what, 1e-6))
        return EXACT if self.whole_blocks else STRUCTURED

    def kfac(self, quantity):
        values = self.value(type(quantity)(DRAWS))
        self.below(values, self.likely)
        exact = self.reference.backward("kflr")["kflr"]
        for name, value in values.items():
            self.likely(value.dense(), exact[name].dense(), f"kfac of {name}")
        return SAMPLED if self.whole_blocks else STRUCTURED_SAMPLED

    def below(self, values, check):
        """Factors of the linear maps `[S, 1]` below the layer, and of their biases `[S]`.

        A bias has its block. Its weight has that and the mean square of the inputs.
        """
        if self.reference.coupled:
            return
        square = np.mean(self.reference.inputs**2.0)
        for name, _, value, block in self.each(values, self.whole):
            if name.startswith("below.") and name.endswith("bias"):
                weight = values[name.replace("bias", "weight")].factors
                check(value.factors[0], block, f"factor of {name}")
                check(weight[0], block, f"output factor below {name}")
                check(weight[1], np.array([[square]]), f"input factor below {name}")

    @cached_property
    def whole_blocks(self):
        """Whether the Kronecker factors give all blocks of the layer's own parameters exactly."""
        values = self.reference.backward("kflr")["kflr"]
        own = [
            np.allclose(value.dense(), block, rtol=1e-6, atol=1e-6 * np.abs(block).max())
            for name, _, value, block in self.each(values, self.whole)
            if name.startswith("layer.")
        ]
        return bool(own) and all(own)

    def kfra(self, quantity):
        """Positive matrices of the right sizes: what they are is defined by the recursion alone."""
        for name, _, value, block in self.each(self.value(quantity), self.whole):
            dense = value.dense()
            assert dense.shape == block.shape
            least = np.linalg.eigvalsh(dense).min()
            assert least >= -1e-9 * max(1, np.abs(dense).max()), f"kfra of {name}"
        return STRUCTURED

    def ggnmp(self, quantity):
        return self.products(quantity, self.whole)

    def ggn(self, quantity):
        assert_close(self.matrix(quantity), self.whole, "ggn", 1e-6)
        return EXACT

    def fisher_mc(self, quantity):
        self.likely(self.matrix(type(quantity)(DRAWS)), self.whole, "fisher_mc")
        return SAMPLED

    def fisher_empirical(self, quantity):
        g = self.reference.gradients
        assert_close(self.matrix(quantity), g.T @ g / self.reference.weight, "empirical", 1e-6)
        return EXACT

    # -- the Hessian ------------------------------------------------------------------------------

    def diag_h(self, quantity):
        self.diagonals(quantity, self.reference.hessians.sum(0))
        return EXACT

    def diag_h_batch(self, quantity):
        self.diagonals(quantity, self.reference.hessians)
        return EXACT

    def hmp(self, quantity):
        return self.products(quantity, self.reference.hessians.sum(0))

    def hessian(self, quantity):
        assert_close(self.matrix(quantity), self.reference.hessians.sum(0), "hessian", 1e-6)
        return EXACT

    def pchmp(self, quantity):
        """Symmetric, and no smaller than the Hessian or its opposite in any direction."""
        values = self.value(quantity)
        for name, shape, value, block in self.each(values, self.reference.hessians.sum(0)):
            product = value(np.eye(len(block)).reshape(-1, *shape)).reshape(block.shape)
            assert_close(product, product.T, f"pchmp of {name}")
            for hessian in (block, -block):
                least = np.linalg.eigvalsh(product - hessian).min()
                assert least >= -1e-6 * max(1, np.abs(product).max()), f"pchmp of {name}"
        return EXACT


def row(name):
    """quantity -> text of the cell, for a case."""
    checks = Checks(Reference(CASES[name]))
    return {quantity.name: checks.cell(quantity()) for quantity in tq.QUANTITIES}


def page(rows):
    """The page of the docs, from case -> quantity -> text. Equal columns are one."""
    columns = {}
    for quantity in rows[next(iter(rows))]:
        columns.setdefault(tuple(cells[quantity] for cells in rows.values()), []).append(quantity)
    reasons = dict.fromkeys(
        cell for cells in rows.values() for cell in cells.values() if cell.startswith("undefined")
    )
    marks = {reason: f"undefined [{i}]" for i, reason in enumerate(reasons, 1)}
    lines = [
        ["layer", *(" ".join(f"`{q}`" for q in quantities) for quantities in columns.values())]
    ]
    lines.append(["---"] * len(lines[0]))
    for i, name in enumerate(rows):
        layer, _, what = name.partition(" ")
        cells = (column[i] for column in columns)
        lines.append([f"`{layer}` {what}".strip(), *(marks.get(cell, cell) for cell in cells)])
    return (
        PAGE.format(
            table="\n".join(f"| {' | '.join(cells)} |" for cells in lines),
            notes="\n".join(
                f"[{i}] {text.partition(': ')[2]}\n" for i, text in enumerate(reasons, 1)
            ),
        ).rstrip("\n")
        + "\n"
    )


def listed(text):
    """case -> quantity -> text of a page: `page` backwards."""
    notes = dict(re.findall(r"^\[(\d+)\] (.+)$", text, re.MULTILINE))
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| ")
    ]
    header, _, *body = lines
    rows = {}
    for name, *cells in body:
        found = {}
        for names, cell in zip(header[1:], cells, strict=True):
            mark = re.fullmatch(r"undefined \[(\d+)\]", cell)
            found |= dict.fromkeys(
                re.findall(r"`(\w+)`", names), f"undefined: {notes[mark[1]]}" if mark else cell
            )
        rows[name.replace("`", "")] = {
            quantity.name: found[quantity.name] for quantity in tq.QUANTITIES
        }
    return rows


if __name__ == "__main__":
    print(page({name: row(name) for name in CASES}), end="")
