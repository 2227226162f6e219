"""Threads and asynchronous tasks: each has its own tapes."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tracer

THREADS = 8


def third_derivative(x):
    """Nested gradients with a tape around them, and its closed form."""
    with tracer.Tape() as tape:
        w = tracer.parameter(np.array(x), name="w")
        inner = tracer.grad(tracer.grad(np.tanh))(w)
    t = np.tanh(x)
    return tape.backward(inner)["grad"]["w"], (1 - t**2) * (6 * t**2 - 2)


def test_eight_threads_take_nested_gradients():
    barrier = threading.Barrier(THREADS)

    def work(k):
        barrier.wait()
        for i in range(20):
            value, expected = third_derivative(0.01 * (k * 20 + i))
            np.testing.assert_allclose(value, expected, atol=1e-12)
        return k

    with ThreadPoolExecutor(THREADS) as pool:
        assert sorted(pool.map(work, range(THREADS))) == list(range(THREADS))


def test_threads_share_parameters_and_not_tapes():
    w = tracer.parameter(np.arange(1.0, 4.0), name="w")
    barrier = threading.Barrier(THREADS)

    def work(k):
        x = np.full((2, 3), float(k))
        barrier.wait()
        for _ in range(10):
            with tracer.Tape() as tape:
                loss = np.sum(np.square(tracer.batch(x) * w))
            results = tape.backward(loss, ("grad", "grad_batch"))
            assert len(tape.recorded()) == 3
            np.testing.assert_allclose(results["grad"]["w"], 4 * k * k * w.data)
            np.testing.assert_allclose(results["grad_batch"]["w"][0], 2 * k * k * w.data)
        return k

    with ThreadPoolExecutor(THREADS) as pool:
        assert len(list(pool.map(work, range(THREADS)))) == THREADS


def test_an_exception_in_one_thread_leaves_the_others_alone():
    barrier = threading.Barrier(THREADS)

    def work(k):
        with tracer.Tape() as tape:
            w = tracer.parameter(np.array(2.0), name="w")
            barrier.wait()
            if k % 2:
                raise RuntimeError("inside")
            loss = w * w
        return tape.backward(loss)["grad"]["w"]

    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(work, k) for k in range(THREADS)]
        for k, future in enumerate(futures):
            if k % 2:
                assert isinstance(future.exception(), RuntimeError)
            else:
                assert future.result() == 4.0
    assert tracer.current_tape() is None


def test_a_thread_started_inside_a_tape_records_on_none():
    seen = []

    def work():
        seen.append(tracer.current_tape())

    with tracer.Tape() as tape:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        tracer.parameter(np.ones(1)) * 1.0
    assert seen == [None]
    assert len(tape.recorded()) == 1


def test_tasks_that_take_turns_inside_their_tapes():
    async def work(x):
        with tracer.Tape() as tape:
            w = tracer.parameter(np.array(x), name="w")
            y = w
            for _ in range(3):
                await asyncio.sleep(0)
                y = y * w
        assert len(tape.recorded()) == 3
        return tape.backward(y)["grad"]["w"]

    async def main():
        return await asyncio.gather(*(work(float(k)) for k in range(THREADS)))

    values = asyncio.run(main())
    np.testing.assert_allclose(values, [4.0 * k**3 for k in range(THREADS)])


def test_an_exception_in_one_task_leaves_the_others_alone():
    async def work(k):
        with tracer.Tape() as tape:
            w = tracer.parameter(np.array(3.0), name="w")
            await asyncio.sleep(0)
            if k == 1:
                raise RuntimeError("inside")
            loss = w * w
        return tape.backward(loss)["grad"]["w"]

    async def main():
        return await asyncio.gather(*map(work, range(3)), return_exceptions=True)

    first, second, third = asyncio.run(main())
    assert first == third == 6.0
    assert isinstance(second, RuntimeError)


def test_a_generator_that_is_left_inside_a_tape_is_closed_with_it():
    def records():
        with tracer.Tape() as tape:
            yield tape

    generator = records()
    assert next(generator) is tracer.current_tape()
    generator.close()
    assert tracer.current_tape() is None


def test_plugins_load_once_however_many_threads_ask():
    from tracer import plugins

    with ThreadPoolExecutor(THREADS) as pool:
        loaders = set(pool.map(lambda _: plugins.load(), range(THREADS)))
    assert len(loaders) == 1
    assert None not in loaders


def test_a_record_of_another_thread_is_not_lost_in_silence():
    def loss(x, run):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(run, lambda: np.sum((x * 2) ** 2)).result()

    def bare(function):
        return function()

    def squares(run):
        return tracer.grad(lambda x: loss(x * 1.0, run))(np.array([1.0, 2.0]))

    with pytest.raises(tracer.TracingError, match=r"copy_context\(\)\.run"):
        squares(bare)


@pytest.mark.slow
def test_threads_for_a_while():
    for _ in range(5):
        test_eight_threads_take_nested_gradients()
        test_threads_share_parameters_and_not_tapes()
