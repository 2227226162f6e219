"""Loaders: batches in order, by threads or not, and again from any of them."""

import contextlib
import gc
import json
import threading
import time
import traceback
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracer_training as training
from tracer.errors import TracerError


def numbered(n):
    return training.ArrayDataset(np.arange(n), np.arange(n) % 3)


def batches(loader):
    return [tuple(array.tolist() for array in batch) for batch in loader]


@settings(max_examples=40)
@given(
    st.integers(0, 23), st.integers(1, 9), st.booleans(), st.booleans(), st.sampled_from([0, 1, 3])
)
def test_an_epoch_has_each_sample_once(n, size, shuffle, drop_last, workers):
    loader = training.DataLoader(
        numbered(n), size, shuffle, drop_last=drop_last, rng=1, num_workers=workers
    )
    for _ in range(2):
        found = batches(loader)
        assert len(found) == len(loader)
        samples = [i for x, _ in found for i in x]
        assert len(set(samples)) == len(samples)
        assert all(len(x) == size for x, _ in found[: -1 if not drop_last else None])
        assert len(samples) == (n - n % size if drop_last else n)
        assert shuffle or samples == list(range(len(samples)))


def noisy(x, rng):
    return x + rng.integers(1000, size=len(x))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 23), st.integers(1, 9), st.sampled_from([0, 1, 3]), st.data())
def test_a_loader_goes_on_to_the_same_bits_from_every_batch(n, size, workers, data):
    def make(threads=workers):
        return training.DataLoader(
            numbered(n), size, True, rng=4, num_workers=threads, transform=noisy
        )

    wanted = [*batches(whole := make(0)), *batches(whole), *batches(whole)]
    stop = data.draw(st.integers(0, len(wanted) - 1))
    loader, state, given_ = make(), None, []
    while state is None:
        if len(given_) == stop:
            state = json.dumps(loader.state_dict())
            break
        for batch in loader:
            given_.append(tuple(array.tolist() for array in batch))
            if len(given_) == stop:
                state = json.dumps(loader.state_dict())
                break
    again = make(data.draw(st.sampled_from([0, 1, 3])))
    again.load_state_dict(json.loads(state))
    rest = []
    while len(given_) + len(rest) < len(wanted):
        rest += batches(again)
    assert given_ + rest == wanted


def test_a_loop_that_is_left_begins_a_new_epoch_next():
    loader = training.DataLoader(numbered(9), 2, True, rng=0)
    whole = training.DataLoader(numbered(9), 2, True, rng=0)
    for _ in loader:
        break
    batches(whole)
    assert batches(loader) == batches(whole)


def test_two_loops_over_one_loader_do_not_disturb_each_other():
    loader = training.DataLoader(numbered(8), 2, num_workers=2)
    pairs = [(a[0].tolist(), b[0].tolist()) for a, b in zip(loader, loader, strict=True)]
    assert [a for a, _ in pairs] == [b for _, b in pairs] == [[0, 1], [2, 3], [4, 5], [6, 7]]


def threads_of_loaders():
    return [thread for thread in threading.enumerate() if "DataLoader" in thread.name]


@pytest.mark.parametrize("leave", ["break", "raise", "end"])
def test_threads_end_with_the_loop(leave):
    loader = training.DataLoader(numbered(50), 2, num_workers=3)

    def loop():
        for number, _ in enumerate(loader):
            assert threads_of_loaders()
            if number == 2 and leave == "break":
                break
            if number == 2 and leave == "raise":
                raise KeyError
        return True

    if leave == "raise":
        with pytest.raises(KeyError):
            loop()
    else:
        assert loop()
    assert not threads_of_loaders()


def test_no_more_batches_are_fetched_than_are_asked_for():
    fetched = []

    def noted(x, rng):
        fetched.append(int(x[0]))
        return x

    loader = training.DataLoader(numbered(40), 1, num_workers=2, prefetch=3, transform=noted)
    for number, _ in enumerate(loader):
        if number == 4:
            break
    # five were given; six more were ahead, or fewer
    assert set(range(5)) <= set(fetched) <= set(range(11))


def test_batches_that_a_loop_has_left_are_freed():
    batch_of = []

    def noted(x, rng):
        x = np.array(x)
        batch_of.append(weakref.ref(x))
        return x

    for _ in training.DataLoader(numbered(40), 2, num_workers=2, transform=noted):
        if len(batch_of) > 5:
            break
    del _
    assert [reference() for reference in batch_of] == [None] * len(batch_of)


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_may_be_collected_on_one_of_its_threads():
    dropped, collected = threading.Event(), threading.Event()

    def collects(x, rng):
        if x[0] == 2:
            assert dropped.wait(10)
            gc.collect()
            collected.set()
        return x

    gc.disable()  # it is to be the thread that finds the cycle
    try:
        loop = iter(training.DataLoader(numbered(9), 1, num_workers=1, transform=collects))
        next(loop)
        cycle = [loop]
        cycle.append(cycle)
        del loop, cycle
        dropped.set()
        assert collected.wait(10)
    finally:
        gc.enable()
    deadline = time.monotonic() + 10
    while threads_of_loaders() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not threads_of_loaders()


def test_an_error_in_a_thread_reaches_the_loop_with_its_lines():
    def fails(x, rng):
        if 6 in x:
            raise ZeroDivisionError("of the transform")
        return x

    loader = training.DataLoader(numbered(10), 2, num_workers=2, transform=fails)
    seen = []
    with pytest.raises(ZeroDivisionError, match="of the transform") as caught:  # noqa: PT012
        for x, _ in loader:
            seen.append(x.tolist())
    assert seen == [[0, 1], [2, 3], [4, 5]]
    assert "fails" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]


@pytest.mark.parametrize("workers", [0, 2])
def test_no_two_batches_have_the_same_random_numbers(workers):
    """Nor has a batch those of the order, or of a batch of another epoch."""
    drawn = []

    def draws(x, rng):
        drawn.append((int(x[0]), rng.random()))
        return x

    loader = training.DataLoader(numbered(4), 1, rng=2, num_workers=workers, transform=draws)
    for _ in range(3):
        list(loader)
    numbers = [number for _, number in drawn]
    assert len(set(numbers)) == 12
    # the first batch of the second epoch does not begin the stream of the epoch's order
    shuffled = training.DataLoader(
        numbered(100), 100, True, rng=2, transform=lambda x, rng: rng.permutation(100)
    )
    for _ in range(2):
        drawn_by_batch = next(iter(shuffled))[0]
        assert drawn_by_batch.tolist() != shuffled.order(shuffled.epoch).tolist()


def test_a_generator_is_a_seed_and_seeds_differ():
    def order(rng):
        return training.DataLoader(numbered(50), 50, True, rng=rng).order(0).tolist()

    assert order(np.random.default_rng(3)) == order(np.random.default_rng(3))
    orders = [order(np.random.default_rng(3)), order(3), order(4), order(2**32 + 3), order(None)]
    assert len({tuple(each) for each in orders}) == 5


def test_threads_help_where_a_transform_waits():
    def slow(x, rng):
        time.sleep(0.02)
        return x

    def seconds(workers):
        loader = training.DataLoader(numbered(20), 1, num_workers=workers, transform=slow)
        begun = time.perf_counter()
        batches(loader)
        return time.perf_counter() - begun

    assert seconds(4) < 0.6 * seconds(0)


def test_samples_of_others_are_collated():
    class Theirs:
        def __len__(self):
            return 5

        def __getitem__(self, i):
            return np.full(2, i, np.float32), float(i)

    x, y = next(iter(training.DataLoader(Theirs(), 3)))
    assert (x.dtype, x.shape, y.dtype) == (np.float32, (3, 2), np.float32)
    loader = training.DataLoader(Theirs(), 2, collate_fn=len)
    assert list(loader) == [2, 2, 1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"batch_size": 0}, "batch_size as a whole number from 1, got 0"),
        ({"num_workers": -1}, "num_workers"),
        ({"prefetch": 0}, "prefetch"),
        ({"rng": "seed"}, "rng is a whole number"),
        ({"rng": -3}, "rng is a whole number"),
        ({"dataset": iter([])}, "a data set has a length"),
    ],
)
def test_arguments_of_loaders(arguments, said):
    with pytest.raises(TracerError, match=said):
        training.DataLoader(**{"dataset": numbered(3), **arguments})


def test_a_state_of_other_data_is_refused():
    loader = training.DataLoader(numbered(20), 2)
    for state in ({"seed": 0}, {"seed": 0, "epoch": 0, "given": 11}, {"seed": "x"}):
        with pytest.raises(TracerError, match="the state"):
            loader.load_state_dict(state)


# -- batches that are said ---------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(-9, 8), max_size=4), max_size=6), st.sampled_from([0, 1, 3]))
def test_batches_are_those_of_the_sampler(sampler, workers):
    loader = training.DataLoader(numbered(9), batch_sampler=sampler, num_workers=workers)
    assert len(loader) == len(sampler)
    wanted = [[number % 9 for number in numbers] for numbers in sampler]
    for _ in range(2):
        assert [x for x, _ in batches(loader)] == wanted
    loader = training.DataLoader(
        numbered(9), batch_sampler=sampler, num_workers=workers, collate_fn=len
    )
    assert list(loader) == [len(numbers) for numbers in sampler]


def test_a_sampler_is_checked():
    for sampler, said in (([[0], [9]], "sample 9 of a data set of 9"), ([[0.5]], "whole numbers")):
        with pytest.raises((IndexError, TracerError), match=said):
            training.DataLoader(numbered(9), batch_sampler=sampler)
    with pytest.raises(TracerError, match="list of the sample numbers"):
        training.DataLoader(numbered(9), batch_sampler=iter([[0]]))
    for options in ({"batch_size": 2}, {"shuffle": True}, {"drop_last": True}):
        with pytest.raises(TracerError, match="either batch_sampler"):
            training.DataLoader(numbered(9), batch_sampler=[[0]], **options)


@pytest.mark.parametrize("steps", range(7))
def test_streams_of_a_text_go_on_from_every_batch(steps):
    text = training.datasets.Text("the quick brown fox jumps over the dog", 3)

    def loader():
        return training.DataLoader(text, batch_sampler=text.streams(2), num_workers=2)

    whole, left = loader(), loader()
    with contextlib.closing(iter(left)) as loop:
        begin = batches(next(loop) for _ in range(min(steps, len(left))))
        state = left.state_dict()
    again = loader()
    again.load_state_dict(state)
    assert begin + batches(again) == batches(whole)
