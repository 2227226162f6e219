"""Threads and asynchronous tasks: each has its own tapes."""

import asyncio
import contextvars
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tracer
import tracer_layers as nn

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


def in_a_thread(function):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def in_its_context(function):
    context = contextvars.copy_context()
    return in_a_thread(lambda: context.run(function))


def under_pause(function):
    def work():
        with tracer.pause():
            return function()

    return in_a_thread(work)


#: what a thread does with a leaf, a computed tensor and a module of the thread that records
USES = {
    "leaf": lambda w, y, m, x: np.sum(w**2),
    "computed": lambda w, y, m, x: np.sum(y**2),
    "module": lambda w, y, m, x: np.sum(m(x)),
    "steps": lambda w, y, m, x: np.sum(np.tanh(np.tanh(w) * 2.0)),
    "transform of a computed one": lambda w, y, m, x: np.sum(
        tracer.grad(lambda z: np.sum(z**3))(y)
    ),
}


@pytest.mark.parametrize("use", USES)
def test_a_record_of_another_thread_is_not_lost_in_silence(use):
    w, m, x = tracer.parameter(np.array([1.0, 2.0]), name="w"), nn.Linear(2, 2).double(), np.eye(2)

    def gradient(run):
        with tracer.Tape() as tape:
            y = w * 2
            loss = run(lambda: USES[use](w, y, m, x)) + np.sum(w)
        return tape.backward(loss)["grad"]

    with pytest.raises(tracer.TracingError, match=r"copy_context\(\)\.run"):
        gradient(in_a_thread)
    found, right = gradient(in_its_context), gradient(lambda function: function())
    for name in right:
        np.testing.assert_array_equal(found[name], right[name])
    np.testing.assert_array_equal(gradient(under_pause)["w"], 1.0)  # a constant, by wish


@pytest.mark.parametrize("transform", [tracer.grad, tracer.value_and_grad, tracer.jacobian])
def test_a_function_whose_work_is_done_in_threads(transform):
    def f(x, run):
        return run(lambda: np.sum(x**3))

    x = np.array([1.0, 2.0])
    with pytest.raises(tracer.TracingError, match=r"copy_context\(\)\.run"):
        transform(lambda x: f(x, in_a_thread))(x)
    found = transform(lambda x: f(x, in_its_context))(x)
    np.testing.assert_array_equal(found[1] if isinstance(found, tuple) else found, 3 * x**2)


def test_a_tape_of_a_thread_s_own_refuses_tensors_of_one_that_is_open_elsewhere():
    w = tracer.parameter(np.ones(2), name="w")

    def work(y):
        with tracer.Tape() as tape:
            loss = np.sum(y * w)
        return tape.backward(loss)["grad"]["w"]

    with tracer.Tape():
        y = w * 2
        with pytest.raises(tracer.TracingError, match=r"copy_context\(\)\.run"):
            in_a_thread(lambda: work(y))
    np.testing.assert_array_equal(in_a_thread(lambda: work(y)), 2.0)  # its tape is closed


def test_threads_that_train_give_each_other_constants():
    """What is made while others record is refused by these, and by no later or other tape."""
    w = tracer.parameter(np.ones(2), name="w")
    opened, made = threading.Event(), threading.Event()

    def records():
        with tracer.Tape():
            opened.set()
            made.wait(10)

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(records)
        opened.wait(10)
        target = np.tanh(w) * 2.0  # while the other one records
        with tracer.Tape() as tape:
            loss = np.sum((w - target) ** 2)
        made.set()
        other.result()
    right = 2 * (1 - 2 * np.tanh(1.0))
    np.testing.assert_allclose(tape.backward(loss)["grad"]["w"], right)
    assert pickle.loads(pickle.dumps(target)).data.tolist() == target.data.tolist()


@pytest.mark.slow
def test_threads_for_a_while():
    for _ in range(5):
        test_eight_threads_take_nested_gradients()
        test_threads_share_parameters_and_not_tapes()
