"""Models are copied, pickled and shared by threads after any trace, as if they had made none."""

import asyncio
import copy
import gc
import os
import pickle
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tests.tracer_layers.layer_zoo import COUPLING, LAYERS, network
from tracer.errors import TracingError

F32 = np.float32


def sequences(*shape):
    return np.random.default_rng(3).standard_normal(shape).astype(F32)


class Tagger(nn.Module):
    """Indices to vectors, through a recurrent layer with lengths, to a loss of its last states."""

    def __init__(self):
        self.table = nn.Embedding(6, 3)
        self.recurrent = nn.LSTM(3, 4, 2, dropout=0.3, bidirectional=True)
        self.head = nn.Linear(8, 2)

    def forward(self, tokens):
        output, _ = self.recurrent(self.table(tokens), lengths=[4, 2, 3])
        return self.head(output)


class Unrolled(nn.Module):
    """A cell with a normalisation in it, in loops of both kinds, with masks."""

    def __init__(self):
        self.layer = nn.Recurrent(nn.GRUCell(3, 3))
        self.cell = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.LayerNorm(3))

    def forward(self, x):
        output, h = self.layer(x, np.zeros((3, 3), F32), lengths=[4, 2, 3])
        with tracer.present(np.array([True, False, True])):
            for _ in tracer.steps(2):
                h = self.cell(h)
        return output, h


#: model and inputs; those of the zoo are in a network, and those below stand alone
MODELS = {
    **{name: lambda case=case: zoo(case) for name, case in (LAYERS | COUPLING).items()},
    "tagger": lambda: (Tagger(), (np.arange(12).reshape(4, 3) % 6,)),
    "unrolled": lambda: (Unrolled(), (sequences(4, 3, 3),)),
    "RNN": lambda: (nn.RNN(3, 4, nonlinearity="relu"), (sequences(4, 2, 3),)),
    "projected": lambda: (nn.LSTM(3, 4, proj_size=2), (sequences(4, 2, 3),)),
    "GRU": lambda: (nn.GRU(3, 4), (sequences(4, 2, 3),)),
    "attention": lambda: (nn.MultiheadAttention(4, 2, dropout=0.2), (sequences(3, 2, 4),) * 3),
    "transformer": lambda: (nn.Transformer(4, 2, 1, 1, 8), (sequences(3, 2, 4),) * 2),
    "positions": lambda: (nn.SinusoidalPositions(5, 4), (sequences(3, 2, 4),)),
    "bag": lambda: (nn.EmbeddingBag(6, 3), (np.arange(6).reshape(2, 3),)),
    "generator": lambda: (nn.Dropout(0.5, rng=np.random.default_rng(0)), (sequences(3, 4),)),
    "PReLU": lambda: (nn.PReLU(), (sequences(3, 4),)),
    "Bilinear": lambda: (nn.Bilinear(4, 4, 2), (sequences(3, 4),) * 2),
    "loss": lambda: (nn.CrossEntropyLoss(np.ones(4, F32)), (sequences(3, 4), np.arange(3))),
    "dictionary": lambda: (
        nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.ModuleList([nn.Linear(4, 1)])}),
        None,
    ),
}


def zoo(case):
    model, x = network(*case)
    return model, (x,)


def outputs(value):
    """The tensors in what a model gives."""
    if isinstance(value, tuple | list):
        return [tensor for item in value for tensor in outputs(item)]
    return [value]


def evaluated(model, inputs):
    """What a model computes, with the same numbers drawn at each call."""
    tracer.seed(5)
    for module in model.modules():
        if isinstance(getattr(module, "rng", None), np.random.Generator):
            module.rng = np.random.default_rng(5)
    return [tensor.data for tensor in outputs(model(*inputs))]


def swept(model, inputs):
    """The tape of a call after a sweep, or None for what is not called."""
    if inputs is None:
        return None
    with tracer.Tape() as tape:
        loss = sum(np.sum(t * t) for t in outputs(model(*inputs)))
    if loss.node.wants:
        tape.backward(loss, ("grad", "batch_l2") if type(model) is Tagger else ("grad",))
    return tape


WAYS = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "oldest pickle": lambda model: pickle.loads(pickle.dumps(model, protocol=0)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", MODELS)
def test_a_copy_after_a_trace_is_the_model(name, way):
    model, inputs = MODELS[name]()
    model.training = False  # of the outermost module alone: flags are copied one by one
    swept(model, inputs)
    other = WAYS[way](model)
    assert [(n, type(m), m.training) for n, m in other.named_modules()] == [
        (n, type(m), m.training) for n, m in model.named_modules()
    ]
    for pairs in ("named_parameters", "named_buffers"):
        mine, its = dict(getattr(model, pairs)()), dict(getattr(other, pairs)())
        assert list(mine) == list(its)
        for key, value in mine.items():
            assert its[key].dtype == value.dtype
            np.testing.assert_array_equal(np.array(its[key].tolist()), np.array(value.tolist()))
            assert (its[key] is value) == (way == "copy")
    if inputs is not None:
        for mine, its in zip(evaluated(model, inputs), evaluated(other, inputs), strict=True):
            np.testing.assert_array_equal(its, mine)
        assert repr(other) == repr(model)


@pytest.mark.parametrize("name", MODELS)
def test_nothing_of_a_trace_is_pickled_or_kept(name):
    model, inputs = MODELS[name]()
    if inputs is None:
        return
    state = model.state_dict()
    before = len(pickle.dumps(model))
    gc.disable()
    try:
        tape = swept(model, inputs)
        with tracer.Tape() as unswept:
            result = model(*inputs)
        kept = [t.data for t in outputs(result)]
        for node in unswept.recorded():
            computed = (p is not None and not p.op.leaf for p in node.parents)
            kept += [x for x, own in zip(node.inputs, computed, strict=True) if own]
            kept += [node.output, node.place.present]
        kept += [node.place.present for node in tape.recorded()]
        traced = [weakref.ref(array) for array in kept if array is not None]
        del tape, unswept, result, kept, node, computed
        alive = [ref().shape for ref in traced if ref() is not None]
    finally:
        gc.enable()
    assert alive == []
    model.load_state_dict(state)  # counts and generators take as many bytes as before
    assert len(pickle.dumps(model)) <= before + 8


def test_a_copy_made_in_a_loop_is_that_of_the_model():
    """Within the trace, too, a module holds nothing of it."""

    class Copying(nn.Module):
        def __init__(self):
            self.inner = nn.Sequential(nn.Linear(2, 2))
            self.copies = []

        def forward(self, x):
            for _ in tracer.steps(2):
                x = self.inner(x)
                self.copies.append(pickle.loads(pickle.dumps(self.inner)))
            return x

    model = Copying()
    with tracer.Tape() as tape:
        loss = np.sum(model(np.ones((3, 2), F32)))
    gradient = tape.backward(loss)["grad"]
    assert list(gradient) == ["inner.0.weight", "inner.0.bias"]
    for other in model.copies:
        np.testing.assert_array_equal(other[0].weight.data, model.inner[0].weight.data)


def test_parameters_of_copies_are_leaves_of_their_own_with_ties_and_frozen_ones():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    model[2].requires_grad_(False)
    swept(model, (sequences(2, 3),))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other[1].weight is other[0].weight
        assert other[0].weight.node is not model[0].weight.node
        assert not np.shares_memory(other[0].weight.data, model[0].weight.data)
        assert not other[2].weight.requires_grad
        with tracer.Tape() as tape:
            loss = np.sum(other(sequences(2, 3)))
        assert list(tape.backward(loss)["grad"]) == ["0.weight", "0.bias", "1.bias"]


def test_a_shallow_copy_registers_for_itself():
    model = nn.Sequential(nn.Linear(2, 2))
    other = copy.copy(model)
    other.append(nn.Tanh())
    other.extra = tracer.parameter(np.ones(2))
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias"]
    assert [name for name, _ in model.named_children()] == ["0"]
    assert [name for name, _ in other.named_children()] == ["0", "1"]


def test_a_model_that_holds_a_recorded_tensor_says_so():
    model = nn.Linear(2, 2)
    with tracer.Tape():
        model.last = model(np.ones((1, 2), F32))
        for way in (copy.deepcopy, pickle.dumps):
            with pytest.raises(TracingError, match=r"linear.*part of a trace.*tensor.data"):
                way(model)
    model.last = model.last.detach()
    assert copy.deepcopy(model).last.shape == (1, 2)


UNPICKLE = """
import pickle, sys
model, x, expected = pickle.load(open(sys.argv[1], "rb"))
import numpy as np
np.testing.assert_array_equal(model(x).data, expected)
import tracer
with tracer.Tape() as tape:
    loss = np.sum(model(x))
print(sorted(tape.backward(loss, ("grad", "batch_l2"))["batch_l2"]))
"""


def test_a_pickle_is_opened_by_a_process_that_has_loaded_nothing(tmp_path):
    model, (tokens,) = MODELS["tagger"]()
    model.eval()
    swept(model, (tokens,))
    file = tmp_path / "model.pickle"
    file.write_bytes(pickle.dumps((model, tokens, model(tokens).data)))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", UNPICKLE, file],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "'recurrent.weight_hh_l1_reverse'" in done.stdout


@pytest.mark.parametrize("name", ["tagger", "unrolled", "transformer"])
def test_threads_that_run_one_model_do_not_see_each_other(name):
    """Each has its own tape, loop, mask and numbers of samples, at the same time."""
    model, _ = MODELS[name]()
    model.eval()
    rng, errors = np.random.default_rng(0), []

    def run(inputs):
        with tracer.Tape() as tape:
            loss = sum(np.sum(t * t) for t in outputs(model(*inputs)))
        places = [(n.op.name, n.place.scope, n.place.times) for n in tape.recorded()]
        return tape.backward(loss)["grad"], places

    def given():
        if name == "tagger":
            return (rng.integers(0, 6, (4, 3)),)
        if name == "unrolled":
            return (rng.standard_normal((4, 3, 3)).astype(F32),)
        return (rng.standard_normal((3, 2, 4)).astype(F32),) * 2

    cases = [given() for _ in range(6)]
    expected = [run(case) for case in cases]
    start = threading.Barrier(len(cases))

    def work(case, gradients, places):
        try:
            start.wait()
            for _ in range(4):
                got, where = run(case)
                assert where == places
                for key, value in gradients.items():
                    np.testing.assert_array_equal(got[key], value)
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=work, args=(case, *right))
        for case, right in zip(cases, expected, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_tasks_that_run_one_model_do_not_see_each_other():
    model, _ = MODELS["tagger"]()
    model.eval()

    async def work(tokens):
        with tracer.Tape() as tape:
            first = model(tokens)
            await asyncio.sleep(0)
            loss = np.sum(first * model(tokens[::-1]))
            await asyncio.sleep(0)
        return tape.backward(loss)["grad"]

    async def together(cases):
        return await asyncio.gather(*map(work, cases))

    cases = [np.random.default_rng(i).integers(0, 6, (4, 3)) for i in range(4)]
    alone = [asyncio.run(work(case)) for case in cases]
    for got, expected in zip(asyncio.run(together(cases)), alone, strict=True):
        assert list(got) == list(expected)
        for key, value in expected.items():
            np.testing.assert_array_equal(got[key], value)
