"""`fit` is the loop that one would write by hand, and stops where that would go wrong."""

import math

import numpy as np
import pytest

import tracer
import tracer_layers as nn
import tracer_training as training
from tracer.errors import TracerError
from tracer.extend import hookimpl


def data(n=40, classes=3, dtype=np.float32):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 4)).astype(dtype)
    return training.ArrayDataset(x, (x @ rng.standard_normal((4, classes))).argmax(1))


def mlp(seed=0):
    tracer.seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def fitted(model, train=None, test=None, *, optimizer=None, loss=nn.cross_entropy, **options):
    optimizer = optimizer or training.SGD(model.parameters(), lr=0.1)
    options = {"epochs": 2, "batch_size": 8, "rng": 0, "progress": False, **options}
    return training.fit(model, loss, train or data(), test, optimizer=optimizer, **options)


def state_of(model):
    return {name: array.tobytes() for name, array in model.state_dict().items()}


def test_it_is_the_loop_that_one_would_write():
    by_hand, model = mlp(), mlp()
    optimizer = training.AdamW(by_hand.parameters(), lr=0.01)
    schedule = training.CosineAnnealingLR(optimizer, T_max=10)
    loader = training.DataLoader(data(), batch_size=8, shuffle=True, rng=0)
    for _ in range(2):
        for x, y in loader:
            with tracer.Tape() as tape:
                loss = nn.cross_entropy(by_hand(x), y)
            optimizer.step(tape.backward(loss, optimizer.quantities))
            schedule.step()
    other = training.AdamW(model.parameters(), lr=0.01)
    fitted(model, optimizer=other, schedule=training.CosineAnnealingLR(other, T_max=10))
    assert state_of(model) == state_of(by_hand)


def test_the_history_has_means_over_samples():
    model = mlp()
    optimizer = training.SGD(model.parameters(), lr=0.0)
    test = data(13)
    history = fitted(model, test=test, optimizer=optimizer, batch_size=7)
    for name, dataset in (("", data()), ("test_", test)):
        x, y = dataset[:]
        output = model(x).data
        assert history[-1][f"{name}loss"] == pytest.approx(
            float(nn.cross_entropy(model(x), y).data), rel=1e-5
        )
        assert history[-1][f"{name}accuracy"] == pytest.approx((output.argmax(1) == y).mean())
    assert history["epoch"].tolist() == [1, 2]
    assert history["step"].tolist() == [6, 12]
    with pytest.raises(TracerError, match=r"no 'test_los'\. Did you mean 'test_loss'"):
        history["test_los"]
    assert "<th>test_accuracy</th>" in history._repr_html_()


@pytest.mark.parametrize("by", ["clip_norm", "clip_value"])
def test_gradients_are_clipped(by):
    bounds = {"clip_norm": 1e-3, "clip_value": 1e-4}
    model = mlp()
    before = model.state_dict()
    fitted(model, optimizer=training.SGD(model.parameters(), lr=1.0), epochs=1, **{by: bounds[by]})
    moved = np.concatenate([(model.state_dict()[k] - v).reshape(-1) for k, v in before.items()])
    if by == "clip_value":
        assert 0 < abs(moved).max() <= 5 * 1.001e-4
    else:
        assert 0 < np.linalg.norm(moved) <= 5 * 1.001e-3


def test_accumulated_batches_are_one_large_one():
    small, large = mlp(), mlp()
    fitted(small, batch_size=4, accumulate=2, epochs=1)
    fitted(large, batch_size=8, epochs=1)
    for name, array in large.state_dict().items():
        np.testing.assert_allclose(small.state_dict()[name], array, rtol=1e-5, atol=1e-6)


def test_callbacks_are_told_in_order_and_may_stop():
    told = []

    class Tells:
        def __getattribute__(self, name):
            if name in ("begin_run", "begin_epoch", "end_step", "end_epoch", "end_run"):
                return lambda run: told.append((name, run.epoch, run.step))
            raise AttributeError(name)

    class Stops:
        def end_step(self, run):
            if run.step == 7:
                run.stop()

    history = fitted(mlp(), epochs=5, callbacks=[Tells(), Stops()])
    names = [name for name, *_ in told]
    assert names[:3] == ["begin_run", "begin_epoch", "end_step"]
    assert names[-2:] == ["end_epoch", "end_run"]
    assert names.count("end_step") == 7
    assert len(history) == 2
    with pytest.raises(TracerError, match="a callback of fit has one of the methods"):
        fitted(mlp(), callbacks=[object()])


def test_plugins_are_told_through_hooks():
    told = []

    @hookimpl
    def begin_run(run):
        told.append("begin")

    @hookimpl
    def end_step(run):
        told.append(float(run.loss))

    @hookimpl
    def end_run(run):
        told.append("end")

    hooks = (begin_run, end_step, end_run)
    for hook in hooks:
        tracer.register(hook)
    try:
        fitted(mlp(), epochs=1)
    finally:
        for hook in hooks:
            tracer.unregister(hook)
    assert told[0] == "begin"
    assert told[-1] == "end"
    assert all(map(math.isfinite, told[1:-1]))
    assert len(told) == 7


class Diverges(nn.Module):
    def __init__(self, after):
        super().__init__()
        self.first = nn.Linear(4, 3)
        self.after, self.calls = after, 0

    def forward(self, x):
        self.calls += 1
        bad = np.float32(np.nan) if self.calls > self.after else np.float32(1)
        return self.first(x) * bad


def test_a_loss_that_is_not_finite_stops_before_the_step(tmp_path):
    model = Diverges(after=8)
    seen = {}

    class Sees:
        def end_step(self, run):
            seen[run.step] = state_of(model)

    with pytest.raises(training.NonFiniteError, match=r"loss is nan at step 8 \(epoch 2") as caught:
        fitted(model, epochs=3, callbacks=[Sees()], checkpoint=tmp_path / "c.safetensors")
    assert (caught.value.step, caught.value.epoch, caught.value.batch) == (8, 1, 3)
    assert "the output of multiply" in caught.value.tensor
    assert state_of(model) == seen[8]
    again = Diverges(after=10**6)
    training.load_checkpoint(tmp_path / "c.safetensors", model=again)
    assert state_of(again) == seen[5]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda model, x: model.first.weight.data.__setitem__((0, 0), np.inf), "the parameter"),
        (lambda model, x: x.__setitem__((3, 1), np.nan), "input 0"),
    ],
)
def test_the_first_tensor_that_is_not_finite_is_named(spoil, said):
    model, (x, y) = Diverges(after=10**6), data()[:]
    spoil(model, x)
    with np.errstate(all="ignore"), pytest.raises(training.NonFiniteError, match=said):
        fitted(model, training.ArrayDataset(x, y), batch_size=40)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epochs": 0}, "epochs is a whole number from 1, got 0"),
        ({"epochs": 1.5}, "epochs is a whole number"),
        ({"accumulate": 0}, "accumulate is a whole number"),
        ({"recorder": "runs"}, "expects recorder as a tracer_experiments.Recorder.* got 'runs'"),
        ({"instruments": "full"}, "expects instruments as .*Instruments.* got 'full'"),
        ({"instruments": ["GradNorm"]}, "expects instruments as .* got .'GradNorm'."),
        ({"precision": "float8"}, "precision is None"),
        ({"schedule_every": "batch"}, '"step" or "epoch"'),
        ({"resume": True}, "give checkpoint=path"),
        ({"train": []}, "no batches"),
        ({"test": []}, "the test data have no samples"),
        ({"optimizer": "adam"}, "fit expects an optimizer"),
        ({"train": data()[:]}, r"a tuple of arrays .*: write tracer_training.ArrayDataset"),
        ({"test": data()[:]}, r"a tuple of arrays .*: write tracer_training.ArrayDataset"),
        ({"train": data()[:][0], "test": data()[:][1]}, r"ArrayDataset\(x, y\) for inputs and"),
        ({"train": nn.cross_entropy}, "a data set, a loader or a list of batches, got <function"),
    ],
)
def test_arguments_that_make_no_sense(options, said):
    model = mlp()
    given = {"optimizer": training.SGD(model.parameters()), "epochs": 1, **options}
    train = given.pop("train", data())
    with pytest.raises(TracerError, match=said):
        training.fit(model, nn.cross_entropy, train, progress=False, **given)


@pytest.mark.parametrize("loss", ["cross_entropy", data()], ids=["a name", "data"])
def test_a_loss_is_a_function(loss):
    model = mlp()
    said = "a loss is a function of outputs and targets, as tracer_layers.cross_entropy, got"
    with pytest.raises(TracerError, match=said):
        fitted(model, loss=loss)
    with pytest.raises(TracerError, match=said):
        training.evaluate(model, loss, data())


def test_an_array_alone_is_input_and_target():
    x, _ = data()[:]
    model = nn.Linear(x.shape[1], x.shape[1])
    history = training.fit(
        model,
        nn.mse_loss,
        x,
        x[:5],
        optimizer=training.SGD(model.parameters()),
        epochs=1,
        progress=False,
    )
    assert history["test_loss"][0] == training.evaluate(model, nn.mse_loss, x[:5])["loss"]


def test_an_optimizer_of_another_model_is_refused():
    with pytest.raises(TracerError, match=r"4 of 4 parameters that are not the model's"):
        fitted(mlp(), optimizer=training.SGD(mlp().parameters()))


def test_a_checkpoint_that_is_there_is_not_overwritten(tmp_path):
    path = tmp_path / "c.safetensors"
    fitted(mlp(), checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(TracerError, match=r"there is a checkpoint .* already: resume=True"):
        fitted(mlp(), checkpoint=path)
    assert path.read_bytes() == before


def test_the_best_epoch_is_kept(tmp_path):
    model = mlp()
    checkpoint = training.Checkpoint(tmp_path / "c.safetensors", best="test_loss")
    history = fitted(model, test=data(), epochs=6, checkpoint=checkpoint)
    other = mlp()
    training.load_checkpoint(checkpoint.best_path, model=other)
    values = training.evaluate(other, nn.cross_entropy, data())
    assert values["loss"] == pytest.approx(history["test_loss"].min())


def test_a_plateau_follows_the_test_loss():
    model = mlp()
    optimizer = training.SGD(model.parameters(), lr=1e-9)
    schedule = training.ReduceLROnPlateau(optimizer, patience=1, threshold=0.5)
    fitted(model, test=data(), optimizer=optimizer, schedule=schedule, epochs=4)
    assert schedule.last_epoch == 4
    assert schedule.num_bad_epochs == 1 or optimizer.param_groups[0]["lr"] < 1e-9
    with pytest.raises(TracerError, match="after each epoch"):
        fitted(model, optimizer=optimizer, schedule=schedule, schedule_every="step")


def test_lists_of_batches_are_data():
    x, y = data()[:]
    batches = [(x[:20], y[:20]), (x[20:], y[20:])]
    one, other = mlp(), mlp()
    fitted(one, batches)
    fitted(other, training.DataLoader(data(), batch_size=20))
    assert state_of(one) == state_of(other)


@pytest.mark.parametrize("precision", [None, "float16"])
def test_outputs_may_be_several(precision, tmp_path):
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(4, 3)

        def forward(self, x):
            return self.first(x), {"x": x}

    model = Pair()
    history = fitted(
        model,
        test=data(),
        loss=lambda output, y: nn.cross_entropy(output[0], y),
        precision=precision,
        checkpoint=tmp_path / "folder" / "made.safetensors",
    )
    assert history["loss"][1] < history["loss"][0]
    assert "accuracy" not in history[-1]
    assert (tmp_path / "folder" / "made.safetensors").exists()


def test_lbfgs_and_others_that_look_again_are_given_a_closure():
    model = mlp()
    optimizer = training.LBFGS(model.parameters(), line_search_fn="strong_wolfe", max_iter=10)
    history = fitted(model, optimizer=optimizer, batch_size=40, epochs=5)
    assert history["loss"][-1] < 0.05 * history["loss"][0]


def test_evaluation_leaves_the_mode_as_it_was():
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5), nn.BatchNorm1d(3))
    model[1].eval()
    before = state_of(model)
    values = training.evaluate(model, nn.cross_entropy, data())
    in_parts = training.evaluate(model, nn.cross_entropy, data(), batch_size=7)
    assert values == pytest.approx(in_parts, rel=1e-5)
    assert state_of(model) == before
    assert [module.training for module in model.modules()] == [True, True, False, True]


def test_a_recorder_and_instruments_see_every_step():
    logged = []

    class Run:
        def log(self, step, **values):
            logged.append((step, values))

        def finish(self):
            logged.append("finished")

    class Recorder:
        def run(self, name, config):
            logged.append(config)
            return Run()

    class Instruments:
        def quantities(self, step):
            return ("batch_l2",) if step % 2 == 0 else ()

        def measure(self, step, results, *, loss, model, optimizer):
            assert ("batch_l2" in results) == (step % 2 == 0)
            return {"seen": float(loss.data)}

    fitted(mlp(), test=data(), epochs=1, recorder=Recorder(), instruments=Instruments())
    config, *steps, epoch, finished = logged
    assert config["optimizer"] == "SGD"
    assert config["lr"] == 0.1
    assert [step for step, _ in steps] == list(range(5))
    assert all(values["seen"] == values["loss"] for _, values in steps)
    assert epoch[1].keys() >= {"epoch", "epoch_loss", "test_loss", "test_accuracy"}
    assert finished == "finished"


def test_progress_is_a_line_for_each_epoch_on_stderr(capsys):
    fitted(mlp(), test=data(), progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split("  ")[0] for line in err.splitlines()] == ["epoch 1/2", "epoch 2/2"]


def test_a_schedule_goes_on_as_it_was_begun(tmp_path):
    def run(epochs, length):
        model = mlp()
        optimizer = training.SGD(model.parameters(), lr=0.1)
        parts = [
            training.LinearLR(optimizer, total_iters=3),
            training.CosineAnnealingLR(optimizer, T_max=length),
        ]
        return fitted(
            model,
            optimizer=optimizer,
            schedule=training.SequentialLR(optimizer, parts, milestones=[3]),
            epochs=epochs,
            checkpoint=tmp_path / "c",
            resume=True,
        )

    run(1, 10)
    with pytest.raises(TracerError, match=r"was begun with T_max=10, and now has 20"):
        run(2, 20)
    assert len(run(2, 10)) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"clip_norm": -1.0}, "clip_norm is a number above 0"),
        ({"clip_value": 0}, "clip_value is a number above 0"),
        ({"schedule": "cosine"}, "fit expects a schedule"),
        ({"callbacks": [training.EarlyStopping]}, "is a class: give EarlyStopping"),
        ({"callbacks": training.EarlyStopping()}, "callbacks are in a list"),
    ],
)
def test_more_arguments_that_make_no_sense(options, said):
    with pytest.raises(TracerError, match=said):
        fitted(mlp(), **options)


def test_a_schedule_of_another_optimizer_and_a_class_of_a_loss_are_refused():
    model = mlp()
    other = training.StepLR(training.SGD(model.parameters()), step_size=1)
    with pytest.raises(TracerError, match="StepLR is of another optimizer"):
        fitted(model, schedule=other)
    with pytest.raises(TracerError, match=r"is a class: give an instance, CrossEntropyLoss\(\)"):
        fitted(model, loss=nn.CrossEntropyLoss)


@pytest.mark.parametrize("steps", [3, 5])
def test_a_loss_that_reshapes_needs_no_metrics(steps):
    class Steps(nn.Module):
        def __init__(self):
            super().__init__()
            self.scores = nn.Linear(4, 3)

        def forward(self, x):
            return self.scores(x)

    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, steps, 4), dtype=np.float32)
    model = Steps()
    history = fitted(
        model,
        training.ArrayDataset(x, rng.integers(0, 3, (12, steps))),
        loss=lambda output, y: nn.cross_entropy(output.reshape(-1, 3), y.reshape(-1)),
    )
    assert "accuracy" not in history[-1]


def test_what_ends_a_training_is_said(tmp_path, capsys):
    class Interrupts:
        def end_step(self, run):
            if run.step == 7:
                raise KeyboardInterrupt

    class Stops:
        def end_epoch(self, run):
            run.stop()

    path = tmp_path / "c"
    with pytest.raises(KeyboardInterrupt):
        fitted(mlp(), callbacks=[Interrupts()], progress=True, checkpoint=path)
    err = capsys.readouterr().err
    assert "interrupted in epoch 2, after 2 batches: what" in err
    assert "is gone on from by resume=True" in err
    fitted(mlp(), callbacks=[Stops()], progress=True, checkpoint=tmp_path / "d", epochs=3)
    assert "stopped after epoch 1 of 3" in capsys.readouterr().err
    options = {"callbacks": [Stops()], "progress": True, "checkpoint": tmp_path / "d"}
    assert len(fitted(mlp(), **options, resume=True, epochs=3)) == 1
    assert "was stopped after epoch 1" in capsys.readouterr().err


def test_the_shared_generator_orders_samples():
    def run(seed):
        model = mlp()
        tracer.seed(seed)
        return fitted(model, rng=None, batch_size=4)["loss"].tolist()

    assert run(1) == run(1) != run(2)


def test_names_of_others_say_what_to_write():
    with pytest.raises(AttributeError, match="write stratified_split"):
        training.train_test_split  # noqa: B018
    with pytest.raises(AttributeError, match="write ArrayDataset"):
        training.TensorDataset  # noqa: B018
    with pytest.raises(AttributeError, match="Did you mean 'AdamW'"):
        training.AdamWW  # noqa: B018
