"""The study of optimisers: what is run, what is kept, and how it is put together."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tracer_experiments as experiments
import tracer_training as training
from tracer.errors import TracerError

from . import __main__ as benchmarks
from .optimisation import command, methods, picture, study, summary, trainings
from .optimisation.methods import METHODS, Choice
from .optimisation.plan import PLANS, Part, Plan, Setting, quick
from .optimisation.records import Curves, Records, is_over
from .optimisation.workers import Workers

ROOT = Path(__file__).resolve().parents[2]
GOOD = Setting("quadratic_deep", "sgd", Choice(1e-3), 0, 3)


class HereAndNow:
    """Workers that train in this process, and keep what they were given."""

    def __init__(self, jobs, folder):
        self.records, self.asked = Records(folder), []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def train(self, settings):
        for setting in settings:
            self.asked.append(setting)
            yield setting, trainings.trained(setting, self.records)


def curves(accuracy, loss=1.0, ended="", epochs=2):
    """Curves that are the same at each epoch."""
    names = ("train", "valid", "test")
    values = {f"{part}_loss": [loss] * (epochs + 1) for part in names}
    values |= {f"{part}_accuracy": [accuracy] * (epochs + 1) for part in names}
    return Curves(values, list(range(epochs + 1)), ended, "some data", "2026-01-01")


# -- what is run -----------------------------------------------------------------------------------


def test_the_grid_is_the_papers_in_decades():
    choices = list(METHODS["kfac"].grid())
    assert len(choices) == 30
    assert {each.lr for each in choices} == {1e-4, 1e-3, 1e-2, 1e-1, 1.0}
    assert {each.damping for each in choices} == {1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0}
    assert [f"{each.lr:.2g}" for each in METHODS["sgd"].grid(2)] == [
        *("0.0001", "0.001", "0.01", "0.1", "1")
    ]


@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_coarser_grid_is_part_of_the_whole_with_equal_rates_and_damping(every):
    for method in METHODS.values():
        assert set(method.grid(every)) <= set(method.grid())
    assert Choice(1e-2, 1e-2) in METHODS["kfac"].grid(every)
    assert 1e-2 in methods.thinned(methods.FINE_RATES, every)


def test_methods_that_take_longer_are_run_with_less():
    plan = Plan("mnist_mlp", 100, 100, less={"kfac": Part(25, 2)})
    assert len(plan.tuning(METHODS["kflr"])) == 30
    few = plan.tuning(METHODS["kfac"])
    assert len(few) == 9
    assert {each.epochs for each in few} == {25}
    assert {each.epochs for each in plan.repeated(few[0])} == {25}
    assert [method.name for method in plan.of(["kfac", "adam"]).methods] == ["adam", "kfac"]


@pytest.mark.parametrize("plan", PLANS.values(), ids=lambda plan: plan.name or plan.problem)
def test_plans_are_of_problems_that_there_are_with_their_epochs(plan):
    assert hasattr(training.problems, plan.problem)
    if not plan.problem.startswith("cifar"):  # whose data take longer
        assert getattr(training.problems, plan.problem)().epochs == plan.all_epochs
    assert plan.epochs <= plan.all_epochs
    assert quick(plan).epochs < plan.all_epochs
    for method in quick(plan).methods:
        assert len(quick(plan).tuning(method)) < len(plan.tuning(method))


def test_each_optimizer_steps_by_its_own_rule():
    for method in METHODS.values():
        problem = training.problems.quadratic_deep()
        made = method.optimizer(problem.groups(), next(iter(method.grid())))
        assert isinstance(made, training.DampedNewton) == (method.curvature is not None)
        if method.curvature:
            assert made.curvature.name == method.curvature
            assert made.average == 1.0


# -- a training ------------------------------------------------------------------------------------


def test_a_training_is_recorded_before_its_first_epoch_and_after_each(tmp_path):
    records = Records(tmp_path)
    found = trainings.trained(GOOD, records)
    assert records.get(GOOD) == found
    assert set(found.values) == {"train_loss", "valid_loss", "test_loss"}
    assert all(len(row) == 4 for row in (found.seconds, *found.values.values()))
    assert found.seconds[0] == 0
    assert all(np.diff(found.seconds) > 0)
    assert found.values["valid_loss"][-1] < found.values["valid_loss"][0]
    assert found.source == "1,000 normal samples"
    (run,) = experiments.Reader(tmp_path).runs(group="quadratic_deep")
    assert (run.status, run.environment["seed"]) == ("finished", 0)
    assert run.config == {
        "problem": "quadratic_deep",
        "method": "sgd",
        "lr": 1e-3,
        "seed": 0,
        "epochs": 3,
        "data": "1,000 normal samples",
    }
    np.testing.assert_array_equal(run.series("test_loss")[0], range(4))
    assert not list(tmp_path.rglob("*.safetensors"))


def test_what_is_held_out_is_not_trained_on(monkeypatch):
    problem = training.problems.mnist_logreg()
    parts = trainings.held_out(problem)
    train, valid = parts["train"].indices, parts["valid"].indices
    assert len(valid) == len(problem.train) // 5
    assert not set(train) & set(valid)
    assert len(train) + len(valid) == len(problem.train)
    again = trainings.held_out(training.problems.mnist_logreg(rng=1))
    np.testing.assert_array_equal(again["valid"].indices, valid)


def test_a_training_that_diverges_ends_at_once_and_is_recorded(tmp_path):
    setting = Setting("quadratic_deep", "sgd", Choice(1.0), 0, 40)
    found = trainings.trained(setting, Records(tmp_path))
    assert found.ended.startswith("the loss is")
    assert len(found.seconds) < 10
    assert Records(tmp_path).get(setting) == found
    (run,) = experiments.Reader(tmp_path).runs()
    assert (run.status, run.error, run.config["diverged"]) == ("failed", found.ended, True)


def test_a_curvature_that_is_not_finite_is_of_a_training_that_diverged():
    problem = training.problems.quadratic_deep()
    optimizer = METHODS["diag_ggn_exact"].optimizer(problem.groups(), Choice(1.0, 1.0))
    theta = problem.model.theta
    results = {"grad": {theta: np.ones(100)}, "diag_ggn_exact": {theta: np.full(100, np.inf)}}
    with pytest.raises(TracerError) as raised:
        optimizer.step(results)
    assert trainings.is_of_divergence(raised.value)


def test_a_wrong_training_is_an_error_and_not_recorded_as_one_that_diverged(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise TracerError("an option is wrong")

    monkeypatch.setattr(training, "fit", refuse)
    with pytest.raises(TracerError, match="an option is wrong"):
        trainings.trained(GOOD, Records(tmp_path))
    assert Records(tmp_path).get(GOOD) is None
    (run,) = experiments.Reader(tmp_path).runs()
    assert run.status == "failed"
    assert "an option is wrong" in run.error


def test_a_training_that_is_interrupted_goes_on_where_it_was(tmp_path, monkeypatch):
    whole = trainings.trained(GOOD, Records(tmp_path / "whole"))
    monkeypatch.setattr(trainings, "SAVED_EVERY", 0.0)
    evaluated = trainings.Watch._evaluate
    calls = []

    def stop(self, seconds):
        calls.append(seconds)
        evaluated(self, seconds)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainings.Watch, "_evaluate", stop)
    records = Records(tmp_path / "parts")
    with pytest.raises(KeyboardInterrupt):
        trainings.trained(GOOD, records)
    assert records.get(GOOD) is None
    assert records.checkpoint(GOOD).exists()
    found = trainings.trained(GOOD, records)
    assert len(calls) == 5  # three before, of which the last is lost, and two
    assert found.values == whole.values
    assert not records.checkpoint(GOOD).exists()
    (run,) = experiments.Reader(records.folder).runs()
    assert run.status == "finished"


def test_records_are_told_apart_by_all_that_they_depend_on(tmp_path):
    settings = [
        GOOD,
        replace(GOOD, problem="mnist_logreg"),
        replace(GOOD, method="adam"),
        replace(GOOD, seed=1),
        replace(GOOD, epochs=4),
        *(replace(GOOD, choice=choice) for choice in METHODS["sgd"].grid()),
        *(replace(GOOD, choice=choice) for choice in METHODS["kfac"].grid()),
        *(replace(GOOD, choice=c) for m in METHODS.values() for c in m.paper.values()),
    ]
    distinct = set(settings)
    assert len({setting.name for setting in distinct}) == len(distinct)


# -- the study -------------------------------------------------------------------------------------


def test_each_method_is_tuned_by_one_seed_and_the_best_trained_with_all(tmp_path, monkeypatch):
    workers = []

    def made(jobs, folder):
        workers.append(HereAndNow(jobs, folder))
        return workers[-1]

    monkeypatch.setattr(study, "Workers", made)
    records = Records(tmp_path)
    left_out = tuple(set(METHODS) - {"sgd", "diag_ggn_mc"})
    plan = Plan("quadratic_deep", 2, 100, every=3, seeds=3, left_out=left_out)
    study.run(plan, records, 1)
    asked = workers[0].asked
    # 3 rates, then 2 more seeds of the best; 1 rate and 2 dampings, then 2 more seeds
    assert len(asked) == 3 + 2 + 2 + 2
    found = study.outcomes(plan, records)
    assert [each.method.name for each in found] == ["sgd", "diag_ggn_mc"]
    for each in found:
        assert len(each.curves) == 3
        last = [row.values["valid_loss"][-1] for _, row in each.tuned if not row.ended]
        assert records.get(each.best).values["valid_loss"][-1] == min(last)
    study.run(plan, records, 1)
    assert workers[1].asked == []
    written = summary.tables([(plan, found)])
    assert "2 of 100 epochs, 3 seeds" in written
    assert "accuracy" not in written
    first, second = picture.draw("quadratic_deep", found, tmp_path / "pictures")
    assert {first.name, second.name} == {
        "optimisation-quadratic_deep.svg",
        "optimisation-quadratic_deep-seconds.svg",
    }
    text = first.read_text()
    assert all(label in text for label in ("Momentum", "DiagGGN-MC", "test loss", "epochs"))


def test_what_is_not_complete_has_no_outcome(tmp_path):
    plan = Plan("mnist_logreg", 2, 50, every=0, seeds=2)
    records = Records(tmp_path)
    best = plan.tuning(METHODS["sgd"])[0]
    records.put(best, curves(0.5))
    assert study.outcomes(plan, records) == []
    records.put(replace(best, seed=1), curves(0.7))
    (found,) = study.outcomes(plan, records)
    assert summary.line(found)[:5] == ("Momentum", "2", "0.021", "", "0.021")
    assert "60.0 % (55.0 to 65.0)" in summary.line(found)
    assert " epochs " not in summary.table([found])
    longer = replace(found, best=replace(best, epochs=9))
    assert " epochs " in summary.table([found, longer])


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (curves(0.9, 2.0), curves(0.8, 1.0)),
        (curves(0.9, 1.0), curves(0.9, 2.0)),
        (curves(0.1, 9.0), curves(0.9, 1.0, ended="the loss is nan")),
    ],
)
def test_accuracy_decides_then_the_loss_and_what_diverged_is_the_worst(better, worse):
    assert better.score > worse.score


def test_median_and_quartiles_over_seeds_count_what_diverged_as_the_worst():
    rows = [
        curves(accuracy, loss) for accuracy, loss in zip((0.1, 0.5, 0.9), (3, 2, 1), strict=True)
    ]
    whole = study.Outcome(METHODS["sgd"], GOOD, [], [*rows, curves(0.95, 0.5, "diverged", 1)])
    accuracies = whole.quartiles("test_accuracy")
    np.testing.assert_allclose(
        accuracies[:, 0], np.quantile([0.1, 0.5, 0.9, 0.95], [0.25, 0.5, 0.75])
    )
    np.testing.assert_allclose(
        accuracies[:, 2], np.quantile([0.1, 0.5, 0.9, 0.0], [0.25, 0.5, 0.75])
    )
    assert whole.quartiles("test_loss")[1, 2] == 2.5
    np.testing.assert_array_equal(whole.seconds(), [0, 1, 2])


# -- the command and its processes -----------------------------------------------------------------


def test_the_command_reports_what_is_recorded_and_runs_nothing(tmp_path, capsys):
    plan = quick(PLANS["fmnist_2c2d"])
    records = Records(tmp_path)
    for seed in range(plan.seeds):
        (setting,) = plan.tuning(METHODS["kfac"])
        records.put(replace(setting, seed=seed), curves(0.25))
    words = ["--quick", "--report", "--folder", str(tmp_path), "--plot", str(tmp_path / "p")]
    benchmarks.main(["optimisation", *words])
    out = capsys.readouterr().out
    assert re.match(r"fmnist_2c2d: some data, 1 of 100 epochs, 3 seeds, \d{4}-\d\d-\d\d\n", out)
    assert out.count("KFAC") == 1
    assert "25.0 % (25.0 to 25.0)" in out
    assert len(list((tmp_path / "p").iterdir())) == 2


def test_an_unknown_problem_is_refused(capsys):
    with pytest.raises(SystemExit):
        command.main(["--problem", "bicycle"])
    assert "invalid choice: 'bicycle'" in capsys.readouterr().err


@pytest.mark.slow
def test_processes_train_and_say_what_failed(tmp_path):
    settings = [replace(GOOD, seed=seed, epochs=1) for seed in range(3)]
    with Workers(2, tmp_path) as workers:
        found = dict(workers.train(settings))
        assert set(found) == set(settings)
        assert all(Records(tmp_path).get(each) == found[each] for each in settings)
        with pytest.raises(RuntimeError, match="bicycle"):
            list(workers.train([replace(GOOD, problem="bicycle")]))


@pytest.mark.slow
def test_a_study_that_is_killed_goes_on_and_leaves_no_process(tmp_path):
    words = ["--quick", "--problem", "quadratic_deep", "--folder", str(tmp_path)]
    command = [sys.executable, "-m", "tests.benchmarks", "optimisation", *words]
    for more in (1, 2, 4):
        there = finished(tmp_path)
        begun = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        limit = time.monotonic() + 60
        while len(finished(tmp_path)) < len(there) + more:
            assert begun.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.02)
        children = Path(f"/proc/{begun.pid}/task/{begun.pid}/children")
        workers = [int(each) for each in children.read_text().split()] if children.exists() else []
        begun.send_signal(signal.SIGKILL)
        begun.wait()
        while any(map(is_running, workers)) and time.monotonic() < limit:
            time.sleep(0.02)
        assert not any(map(is_running, workers))
        assert there.items() <= finished(tmp_path).items()
    there = finished(tmp_path)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "quadratic_deep: 1,000 normal samples, 5 of 100 epochs, 3 seeds" in done.stdout
    assert done.stdout.count("\n| ") >= 7  # six optimisers below the head
    whole = finished(tmp_path)
    assert there.items() <= whole.items()
    assert len(experiments.Reader(tmp_path).runs()) == len(whole)
    for run in experiments.Reader(tmp_path).runs():  # where one was killed, and where none was
        np.testing.assert_array_equal(
            run.series("valid_loss")[0], range(run.names()["valid_loss"].count)
        )


def finished(folder):
    """Runs that are over: their ids, when they ended, and their curves, by name."""
    try:
        runs = experiments.Reader(folder).runs()
    except experiments.RecordError:  # there is no database yet
        return {}
    return {
        run.name: (run.id, run.ended, tuple(run.series("valid_loss")[1]))
        for run in runs
        if is_over(run)
    }


@pytest.mark.slow
def test_a_training_that_is_killed_at_any_moment_has_the_curves_of_one_that_is_not(tmp_path):
    setting = replace(GOOD, epochs=150)
    begun_at = time.perf_counter()
    whole = trainings.trained(setting, Records(tmp_path / "whole"))
    took = time.perf_counter() - begun_at
    program = [
        "from pathlib import Path; from tests.benchmarks.optimisation import trainings",
        "from tests.benchmarks.optimisation.records import Records",
        "from tests.benchmarks.test_optimisation import GOOD, replace",
        "trainings.SAVED_EVERY = 0.1; records = Records(Path(__import__('sys').argv[1]))",
        "print('ready', flush=True); trainings.trained(replace(GOOD, epochs=150), records)",
    ]
    command = [sys.executable, "-c", "\n".join(program), str(tmp_path / "parts")]
    draw = np.random.default_rng(0)
    killed = 0
    while Records(tmp_path / "parts").get(setting) is None:
        begun = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        begun.stdout.readline()
        try:
            begun.wait(draw.uniform(0.05, 0.15) * took * (1 + killed))  # longer each time
        except subprocess.TimeoutExpired:
            killed += 1
            begun.send_signal(signal.SIGKILL)
            begun.wait()
        begun.stdout.close()
        assert killed < 20
    assert killed
    found = Records(tmp_path / "parts").get(setting).values
    assert found.keys() == whole.values.keys()
    for name, curve in found.items():  # sums of float32 depend on where arrays lie in memory
        np.testing.assert_allclose(curve, whole.values[name], rtol=1e-6, err_msg=name)
    (run,) = experiments.Reader(tmp_path / "parts").runs()
    assert run.status == "finished"


def is_running(pid):
    """Whether a process is there that has not ended."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return False
