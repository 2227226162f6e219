"""The benchmark of a GPU, as far as a machine without one can run it: steps, clock and table."""

from dataclasses import replace

import pytest

from . import __main__ as command
from . import gpu
from .networks import NETWORKS


@pytest.mark.parametrize("name", gpu.SIZES)
def test_our_step_gives_the_quantity_of_every_parameter(name):
    network = replace(NETWORKS[name], samples=2)
    results = gpu.our_step(network, "batch_l2", device="cpu")()
    assert {value.shape for value in results["batch_l2"].values()} == {(2,)}


def test_operations_grow_with_the_samples():
    few, many = (gpu.operations(replace(NETWORKS["2c2d"], samples=n)) for n in (1, 3))
    assert many == 3 * few > 0


def test_the_clock_stands_between_events_and_leaves_out_the_warm_up():
    times = iter([1e9] * gpu.WARM_UP + [*range(1, gpu.RUNS + 1)])
    done = []

    class Event:
        def record(self):
            done.append("record")

        def synchronize(self):
            done.append("wait")

    found = gpu.median(lambda: done.append("step"), Event, lambda start, stop: next(times))
    assert done == ["record", "step", "record", "wait"] * (gpu.WARM_UP + gpu.RUNS)
    assert found == pytest.approx((gpu.RUNS + 1) / 2 / 1e3)


def test_a_line_has_the_ratio_and_the_share_of_the_rate():
    measured = gpu.Cell("lstm", "grad", 1e-3, 2e-3, samples=64, operations=10**9)
    assert gpu.line(measured, 4e12) == ("lstm", "64", "`grad`", "1.00", "2.00", "0.50", "25%")
    failed = gpu.Cell("lstm", "kfac", 1e-3, "not installed", samples=64)
    assert gpu.line(failed, 4e12)[3:] == ("1.00", "not installed", "", "")


def test_means_stand_beside_their_goals():
    cells = [gpu.Cell("a", "grad", 1.0, 2.0), gpu.Cell("a", "kfac", 1.0, 4.0)]
    *_, of_gradients, of_quantities = gpu.lines(cells, 1.0)
    assert of_gradients[-2:] == ("**0.50**", "goal 1.5")
    assert of_quantities[-2:] == ("**0.25**", "goal 0.7")


@pytest.mark.skipif(command.devices.cuda_available(), reason="there is a GPU")
def test_without_a_gpu_the_error_says_what_is_missing():
    with pytest.raises(command.devices.TracerError, match="the device 'cuda' was asked for, but"):
        command.main(["--device", "cuda"])
