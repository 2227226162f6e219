"""Half precision: float16 forward and backward, weights and optimiser in float32."""

import numpy as np
import pytest

import tracer
import tracer_layers as nn
import tracer_training as training
from tracer.errors import TracerError


def data(n=96):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 6), dtype=np.float32)
    return training.ArrayDataset(x, (x @ rng.standard_normal((6, 3))).argmax(1))


def mlp():
    tracer.seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))


def test_in_half_weights_what_is_recorded_is_of_half_precision():
    model = mlp()
    before = [p.data for p in model.parameters()]
    with training.half_weights(model.parameters()), tracer.Tape() as tape:
        output = model(data()[:][0].astype(np.float16))
        loss = nn.cross_entropy(output.astype(np.float32), data()[:][1])
    assert output.dtype == np.float16
    assert loss.dtype == np.float32
    assert all(p.data is array for p, array in zip(model.parameters(), before, strict=True))
    dtypes = {n["dtype"] for _, n in tape.graph().nodes(data=True) if n["op"] == "linear"}
    assert dtypes == {"float16"}


def test_weights_come_back_after_an_error():
    model = mlp()
    with pytest.raises(KeyError), training.half_weights(model.parameters()):
        raise KeyError
    assert all(p.dtype == np.float32 for p in model.parameters())


def test_training_in_half_precision_is_close_to_that_in_single():
    losses = {}
    for precision in (None, "float16"):
        model = mlp()
        optimizer = training.AdamW(model.parameters(), lr=0.01)
        history = training.fit(
            model,
            nn.cross_entropy,
            data(),
            optimizer=optimizer,
            epochs=8,
            batch_size=16,
            rng=0,
            precision=precision,
            progress=False,
        )
        losses[precision] = history["loss"]
        states = [v for s in optimizer.state.values() for v in s.values() if hasattr(v, "dtype")]
        assert {v.dtype for v in states} == {np.dtype(np.float32)}
        assert all(p.dtype == np.float32 for p in model.parameters())
        assert all(b.dtype != np.float16 for b in model.buffers())
    np.testing.assert_allclose(losses["float16"], losses[None], rtol=0.02, atol=0.01)
    assert losses["float16"][-1] < 0.5 * losses["float16"][0]


@pytest.mark.parametrize("scale", [1.0, 2.0**16])
def test_small_gradients_survive(scale):
    """Those of 1e-9 are zero in float16; cotangents are of float32, and so are weights."""
    w = tracer.parameter(np.array([1.0, 2.0], np.float32), "w")
    x = np.array([3.0, 5.0], np.float16)
    with training.half_weights([w]):
        with tracer.Tape() as tape:
            loss = (w * x).sum().astype(np.float32) * 1e-9 * scale
        results = tape.backward(loss)
    assert training.LossScale(scale).unscaled(results)
    np.testing.assert_allclose(results["grad"]["w"], 1e-9 * x.astype(float), rtol=1e-6)
    assert results["grad"]["w"].dtype == np.float32


def test_the_scale_falls_where_gradients_overflow_and_grows_again():
    scale = training.LossScale(scale=1024.0, interval=3)
    bad = {"grad": {"w": np.array([np.inf, 1], np.float16)}}
    assert not scale.unscaled(bad)
    assert scale.scale == 512
    for step in range(1, 7):
        good = {"grad": {"w": np.array([512.0], np.float16)}}
        assert scale.unscaled(good)
        assert scale.scale == 512 * 2 ** (step // 3)
    again = training.LossScale()
    again.load_state_dict(scale.state_dict())
    assert (again.scale, again.steps) == (scale.scale, scale.steps)


def test_steps_that_overflow_are_left_out():
    model = mlp()
    taken = []

    class Counts:
        def end_step(self, run):
            taken.append(run.step)

    scale = training.LossScale(scale=2.0**130, interval=1000)
    training.fit(
        model,
        nn.cross_entropy,
        data(),
        optimizer=training.SGD(model.parameters(), lr=0.1),
        epochs=5,
        batch_size=8,
        precision=scale,
        callbacks=[Counts()],
        progress=False,
    )
    assert 0 < len(taken) < 60
    assert scale.scale < 2.0**128
    assert all(np.isfinite(p.data).all() for p in model.parameters())


def test_what_does_not_go_together_with_half_precision():
    model = mlp()
    options = {"epochs": 1, "precision": "float16", "progress": False}
    with pytest.raises(TracerError, match="need the gradient alone, and these need grad, loss"):
        training.fit(
            model,
            nn.cross_entropy,
            data(),
            optimizer=training.LBFGS(model.parameters()),
            **options,
        )
    with pytest.raises(TracerError, match="LossScale expects scale > 0"):
        training.LossScale(scale=-1)
