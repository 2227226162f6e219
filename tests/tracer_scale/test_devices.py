"""Models on devices in training on several ranks: the double of a device, linked as by NCCL."""

import sys
from pathlib import Path

import folds
import numpy as np
import pytest
from alone import Alone, Threads
from launch import needs_mpi, run

import tracer
import tracer_layers as nn
import tracer_scale as scale
import tracer_training as training
from tracer import registry
from tracer.errors import TracerError
from tracer_scale.parallel import devices
from tracer_scale.parallel.devices import Devices, exchanging
from tracer_scale.parallel.outlines import filled, outlined
from tracer_scale.parallel.transports import Kept, Linked, Staged

sys.path.append(str(Path(__file__).parents[1]))
import device
import links

OPTIONS = {
    "AdamW": {"lr": 0.05},
    "HessianFree": {"damping": 1.0},
    "KFAC": {"lr": 0.05},
    "LBFGS": {"lr": 0.5},
    "kflr": {"lr": 0.1, "damping": 1.0, "curvature": "kflr"},
}


@pytest.fixture
def library():
    """The double, which has no choice of devices."""
    yield from standing(0)


@pytest.fixture
def two():
    """The double with two devices, of which this process takes one."""
    yield from standing(2)


def standing(count):
    made = links.Standing(count)
    registry.backends.add(made, "tests")
    yield made
    registry.backends.remove("device")


@pytest.fixture
def linked(monkeypatch):
    """Ranks that are threads, with links between the devices of them."""

    def make(size, available=True):
        ranks = Threads(size)
        modules = links.install(lambda rank: ranks.of(rank), available)
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        return ranks

    return make


def checked(results):
    """What all ranks have; the first error of one."""
    for each in results:
        if isinstance(each, Exception):
            raise each
    return results


def there(array):
    return device.DeviceArray(np.asarray(array))


def on_host(value):
    """A value with NumPy's arrays."""
    if isinstance(value, device.DeviceArray):
        return value._values
    if isinstance(value, dict):
        return {key: on_host(each) for key, each in value.items()}
    return [on_host(each) for each in value] if isinstance(value, list | tuple) else value


# -- what is sent ----------------------------------------------------------------------------------


def arrays():
    yield from (np.arange(7, dtype=kind) for kind in ("i1", "u2", "i4", "i8", "f2", "f4", "f8"))
    yield from (np.array([True, False]), np.array(2.5), np.zeros((0, 3)), np.ones((2, 0), "i4"))
    yield from (np.arange(12.0).reshape(3, 4).T, np.arange(20)[::3], np.full((2, 3, 4), np.nan))


def test_an_outline_has_no_array_of_the_device_and_gives_all_of_them(library):
    value = {"a": [there(a) for a in arrays()], "host": np.arange(3), "n": (1, "two", None)}
    with device.watched() as waits:
        outline, buffer = outlined(value, library)
        again = filled(outline, buffer, library)
    assert not waits
    assert all(isinstance(each, device.DeviceArray) for each in again["a"])
    assert type(again["host"]) is np.ndarray
    assert again["n"] == value["n"]
    for one, expected in zip(again["a"], arrays(), strict=True):
        assert one.dtype == expected.dtype
        np.testing.assert_array_equal(one._values, expected, strict=True)
        assert one._values.flags.aligned


def sent(rank, to):
    """Of other sizes for each pair; some send nothing, and some no array."""
    if (rank + to) % 3 == 2:
        return {"rank": rank, "nothing": there(np.zeros(0))}
    values = np.arange(5 * rank + 3 * to + 1, dtype=np.float32)
    return {"rank": rank, "values": [there(values), there(rank), np.full(2, to)]}


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["linked", "staged"])
def test_devices_exchange_what_mpi_exchanges(library, linked, size, kind):
    ranks = linked(size)

    def exchange(comm):
        rank = comm.Get_rank()
        if kind == "linked":
            made = library.links(size, rank, "127.0.0.1", 4444)
            transport = Linked(made, library, comm)
        else:
            transport = Staged(library, comm)
        over = Devices(comm, library, transport)
        root = over.bcast(sent(rank, 1) if rank == size - 1 else None, size - 1)
        every = over.allgather(sent(rank, 0))
        return root, every, over.alltoall([sent(rank, to) for to in range(size)])

    with device.watched() as waits:
        of_all = checked(ranks.run(exchange))
    assert bool(waits) == (kind == "staged")
    for rank, (root, every, own) in enumerate(of_all):
        np.testing.assert_equal(on_host(root), on_host(sent(size - 1, 1)))
        np.testing.assert_equal(on_host(every), on_host([sent(of, 0) for of in range(size)]))
        np.testing.assert_equal(on_host(own), on_host([sent(of, rank) for of in range(size)]))


# -- who is linked to whom -------------------------------------------------------------------------


def model_at(place, make=folds.mlp):
    return make().to(place)


class Wide(nn.Module):
    """With a buffer, too."""

    def __init__(self):
        super().__init__()
        self.weight = tracer.parameter(np.ones(2))
        self.register_buffer("mean", np.zeros(2))


def begun(ranks, machines, count, monkeypatch, name=lambda number: f"0000:{number}"):
    """The communicators of ranks on these machines, each with `count` devices."""
    made = [links.Standing(count, name) for _ in machines]

    def begin(comm):
        rank = comm.Get_rank()
        comm.library, comm.machine = made[rank], machines[rank]
        return exchanging(None, comm)

    local = Local(ranks)
    monkeypatch.setattr(devices, "library_of", lambda model: local.comm().library)
    monkeypatch.setattr(devices.socket, "gethostname", lambda: local.comm().machine)
    monkeypatch.setattr(devices.socket, "gethostbyname", lambda name: f"10.0.0.{name[-1]}")
    monkeypatch.setattr(devices, "free_port", lambda host: 5555)
    monkeypatch.setattr(devices, "_move", lambda library, model: None)
    return local.run(begin), made


class Local:
    """Ranks that know which of them a thread is."""

    def __init__(self, ranks):
        self.ranks = ranks

    def comm(self):
        return self.ranks.here.comm

    def run(self, function):
        return self.ranks.run(function)


def test_each_rank_takes_the_device_of_its_place_on_its_machine(linked, monkeypatch):
    comms, made = begun(linked(4), ["m0", "m1", "m0", "m1"], 2, monkeypatch)
    assert [type(each.transport) for each in checked(comms)] == [Linked] * 4
    assert [library.taken for library in made] == [0, 0, 1, 1]
    assert {link.address for link in links.NCCLBackend.made} == {("10.0.0.0", 5555)}
    assert all(link.stopped for link in links.NCCLBackend.made)


def test_one_rank_alone_stays_where_it_is(two):
    model = model_at("double")
    trainer = scale.DataParallel(model, training.AdamW(model.parameters(), lr=0.1), Alone())
    assert isinstance(trainer.comm.transport, Kept)
    assert two.taken is None


def test_one_machine_meets_within(linked, monkeypatch):
    checked(begun(linked(2), ["m0", "m0"], 2, monkeypatch)[0])
    assert {link.address for link in links.NCCLBackend.made} == {("127.0.0.1", 5555)}


@pytest.mark.parametrize(
    ("available", "count", "name", "said"),
    [
        (True, 2, None, "3 ranks share 2 devices"),
        (True, 1, None, "3 ranks share one device"),
        (True, 3, lambda number: "MIG", "3 ranks share one device"),
        (False, 3, None, "CuPy finds no NCCL: pip install nvidia-nccl"),
    ],
)
def test_without_links_the_first_rank_says_that_the_host_is_in_between(
    linked, monkeypatch, available, count, name, said
):
    name = name or (lambda number: f"0000:{number}")
    with pytest.warns(UserWarning, match=f"through the host's memory: {said}") as told:
        comms, _ = begun(linked(3, available), ["m0"] * 3, count, monkeypatch, name)
    assert len(told) == 1
    assert [type(each.transport) for each in checked(comms)] == [Staged] * 3
    assert not links.NCCLBackend.made


def test_a_broken_cupyx_is_told(library, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupyx.distributed", None)
    assert "cupyx.distributed cannot be imported (ModuleNotFoundError" in library.links_problem()


def test_models_on_several_kinds_of_devices_are_refused_by_all(library):
    def begin(comm):
        return exchanging(model_at("cpu" if comm.Get_rank() else "double"), comm)

    for error in Threads(2).run(begin):
        assert isinstance(error, TracerError)
        assert "rank 1 has its model on 'cpu', and rank 0 on 'double'" in str(error)


class Twice(Alone):
    """Two ranks that do the same."""

    def Get_size(self):
        return 2

    def allgather(self, value):
        return [value, value]


def test_a_model_goes_to_the_device_that_is_taken(two):
    model = Wide().to("double")
    made = training.AdamW([model.weight], lr=0.1)
    before = model.weight.data, model.mean
    with pytest.warns(UserWarning, match="2 ranks share one device"):
        scale.DataParallel(model, made, Twice())
    assert two.taken == 0
    assert isinstance(model.weight.data, device.DeviceArray)
    assert model.weight.data is not before[0]
    assert model.mean is not before[1]


def test_targets_on_a_device_are_asked_whether_all_count(library):
    x, y = tracer.to_device((folds.X, folds.LABELS), "double")
    model = model_at("double")
    expected = scale.fold(
        folds.mlp(), nn.cross_entropy, whole(folds.X, folds.LABELS), ("grad",), engine="here"
    )
    found = scale.fold(model, nn.cross_entropy, whole(x, y), ("grad",), engine="here")
    for one, other in zip(found["grad"].values(), expected["grad"].values(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    y[3] = -100
    with pytest.raises(scale.ShardError, match="targets that are ignored"):
        scale.fold(model, nn.cross_entropy, whole(x, y), ("grad",), engine="here")


def test_probabilities_as_targets_weigh_all_alike():
    y = np.abs(folds.TARGETS) / np.abs(folds.TARGETS).sum(1, keepdims=True)
    model = folds.mlp()
    found = scale.fold(model, nn.cross_entropy, whole(folds.X, y), ("grad",), engine="here")
    expected = folds.swept(model, folds.X, y, nn.cross_entropy, ("grad",))
    for one, other in zip(found["grad"].values(), expected["grad"].values(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def whole(x, y):
    """Two shards of arrays."""
    return scale.Shards(lambda i: (x[i::2], y[i::2]), 2)


# -- training --------------------------------------------------------------------------------------


def trained(comm, name, place, steps=3, parts=4):
    """The parameters after some steps, and what went to the host or came from there meanwhile."""
    model = model_at(place)
    if comm.Get_rank():
        model[0].bias.data = model[0].bias.data + 1  # the first rank's is taken
    kind = getattr(training, "DampedNewton" if name == "kflr" else name)
    made = kind(model.parameters(), **OPTIONS[name])
    trainer = scale.DataParallel(model, made, comm, parts=parts)
    x, y = tracer.to_device((folds.X, folds.LABELS), place)
    trainer.step(nn.cross_entropy, x, y)  # which looks at the loss of two samples, and constants
    with device.watched(larger_than=1) as waits:
        for _ in range(steps - 1):
            trainer.step(nn.cross_entropy, x, y)
    return tracer.asnumpy({name: p.data for name, p in model.named_parameters()}), waits


@pytest.mark.parametrize("name", ["AdamW", pytest.param("LBFGS", marks=pytest.mark.slow)])
def test_a_step_on_a_device_has_the_bits_of_the_host(library, name):
    expected, _ = trained(Alone(), name, "cpu")
    found, waits = trained(Alone(), name, "double")
    assert not waits, waits
    for key, array in found.items():
        np.testing.assert_array_equal(array, expected[key], err_msg=key)


@pytest.mark.parametrize("name", ["KFAC", "kflr", "HessianFree"])
def test_no_array_of_curvature_goes_to_the_host(library, name):
    """Draws of KFAC come from there: they are those of a fold's streams."""
    _, waits = trained(Alone(), name, "double")
    assert not [wait for wait in waits if name != "KFAC" or wait.startswith("to the host")], waits


def normalising():
    tracer.seed(0)
    layers = nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Dropout(0.3), nn.Linear(5, 3)
    return nn.Sequential(*layers).double()


def fitted(place, parts, epochs=2, drops=True, comm=None):
    tracer.seed(1)
    model = normalising().to(place)
    if not drops:
        model[3].p = 0.0
    made = training.AdamW(model.parameters(), lr=0.05)
    data = training.DataLoader(
        training.ArrayDataset(folds.X, folds.LABELS), batch_size=8, rng=0, device=place
    )
    training.fit(model, nn.cross_entropy, data, data, optimizer=made, epochs=epochs,
                 progress=False, parallel=scale.Ranks(comm or Alone(), parts))  # fmt: skip
    return tracer.asnumpy(model.state_dict())


def test_fit_on_a_device_has_the_bits_of_the_host_and_its_running_statistics(library):
    expected = fitted("cpu", 3, drops=False)
    for key, array in fitted("double", 3, drops=False).items():
        np.testing.assert_array_equal(array, expected[key], err_msg=key)


def test_what_a_device_draws_has_a_stream_for_each_part(library):
    first, second = fitted("double", 3), fitted("double", 3)
    for key, array in first.items():
        np.testing.assert_array_equal(array, second[key], err_msg=key)


@needs_mpi
@pytest.mark.slow
@pytest.mark.parametrize("name", ["AdamW", "KFAC", "HessianFree", "fit"])
def test_any_number_of_ranks_with_devices_has_the_same_bits(tmp_path, name):
    results = []
    for ranks in (1, 2, 3):
        done = run(ranks, "on_devices.py", name, tmp_path / f"{ranks}.npz")
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("exchange arrays through the host") == 0
        with np.load(tmp_path / f"{ranks}.npz") as kept:
            results.append(dict(kept))
    for other in results[1:]:
        for key, array in results[0].items():
            np.testing.assert_array_equal(other[key], array, err_msg=key)


@needs_mpi
@pytest.mark.slow
def test_more_ranks_than_devices_train_to_the_same_bits(tmp_path):
    results = []
    for ranks, devices_there in ((1, 2), (3, 2)):
        done = run(ranks, "on_devices.py", "KFAC", tmp_path / "out.npz", devices_there)
        assert done.returncode == 0, done.stderr
        said = done.stderr.count("3 ranks share 2 devices")
        assert said == (ranks == 3)
        with np.load(tmp_path / "out.npz") as kept:
            results.append(dict(kept))
    for key, array in results[0].items():
        np.testing.assert_array_equal(results[1][key], array, err_msg=key)
