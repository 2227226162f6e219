"""What is logged goes to sinks, too: each file is read back and compared with what was logged."""

import csv
import json
import math
import struct
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import tracer
import tracer_experiments as experiments
from tracer_experiments.sinks import naming

STEPS = 9


def logged(folder, sinks, config=None):
    """A run with what sinks have to tell apart; its id."""
    with experiments.Recorder(folder, sinks) as recorder:
        with recorder.run("first try/2", config or {"lr": 0.1}) as run:
            for step in range(STEPS):
                run.log(step, loss=1 / (step + 1), odd=math.nan if step == 3 else -math.inf)
                if step == 4:
                    run.flush()
                    run.log(step, late=4.0, weights=np.arange(10.0))
                run.log(step, behind=experiments.Late(step / 10, max(step - 1, 0)))
        return run.id


def lines(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_has_a_line_for_each_step_and_a_column_for_each_series(tmp_path):
    logged(tmp_path, "csv")
    (path,) = (tmp_path / "csv").iterdir()
    assert path.name == "1-first_try_2.csv"
    table = lines(path)
    assert list(table[0]) == ["step", "seconds", "loss", "odd", "behind", "late"]
    assert [int(line["step"]) for line in table] == list(range(STEPS))
    assert [float(line["loss"]) for line in table] == [1 / (n + 1) for n in range(STEPS)]
    assert [line["late"] for line in table] == [""] * 4 + ["4.0"] + [""] * 4
    # the last value of step 0 is the one that came later
    assert [line["behind"] for line in table] == [repr((n + 1) / 10) for n in range(8)] + [""]
    assert math.isnan(float(table[3]["odd"]))
    assert float(table[4]["odd"]) == -math.inf


def test_a_table_goes_on_from_the_step_that_a_run_goes_on_from(tmp_path):
    with experiments.Recorder(tmp_path, "csv") as recorder:
        run = recorder.run("one")
        for step in range(10):
            run.log(step, loss=float(step))
        run.finish()
        run = recorder.run(resume=run.id)
        for step in range(6, 12):
            run.log(step, loss=100.0 + step, more=1.0)
        run.finish()
    (path,) = (tmp_path / "csv").iterdir()
    wanted = [*map(float, range(6)), *(100.0 + n for n in range(6, 12))]
    assert [float(line["loss"]) for line in lines(path)] == wanted
    assert [line["more"] for line in lines(path)] == [""] * 6 + ["1.0"] * 6


def test_a_table_that_was_cut_off_goes_on(tmp_path):
    with experiments.Recorder(tmp_path, "csv") as recorder:
        run = recorder.run("one")
        for step in range(8):
            run.log(step, a=1.0, b=2.0)
        run.finish()
        (path,) = (tmp_path / "csv").iterdir()
        path.write_text(path.read_text()[:-6])  # within the last line
        run = recorder.run(resume=run.id)
        run.log(8, a=3.0, b=4.0)
        run.finish()
    assert [(line["step"], line["a"]) for line in lines(path)][-2:] == [("6", "1.0"), ("8", "3.0")]


def test_json_lines_hold_every_value(tmp_path):
    logged(tmp_path, "jsonl", {"lr": math.inf, "betas": (0.9, 0.99)})
    (path,) = (tmp_path / "jsonl").iterdir()
    first, *rest, last = map(json.loads, path.read_text().splitlines())
    assert (first["id"], first["name"]) == (1, "first try/2")
    assert first["config"] == {"lr": "inf", "betas": [0.9, 0.99]}
    assert last == {"status": "finished"}
    losses = [line for line in rest if line["name"] == "loss"]
    assert [line["value"] for line in losses] == [1 / (n + 1) for n in range(STEPS)]
    odd = [line["value"] for line in rest if line["name"] == "odd"]
    assert odd[3] == "NaN"
    assert odd[4] == "-Infinity"
    (weights,) = (line for line in rest if line["name"] == "weights")
    counts, edges = np.histogram(np.arange(10.0), 64)
    assert weights["counts"] == counts.tolist()
    assert weights["edges"] == edges.tolist()
    assert [line["step"] for line in rest if line["name"] == "behind"] == [0, *range(8)]


def test_lines_after_one_that_was_cut_off_are_whole(tmp_path):
    run = logged(tmp_path, "jsonl")
    (path,) = (tmp_path / "jsonl").iterdir()
    path.write_text(path.read_text()[:-5])
    with experiments.Recorder(tmp_path, "jsonl") as recorder:
        going = recorder.run(resume=run)
        going.log(9, loss=0.5)
        going.finish()
    *_, cut, again, value, status = path.read_text().splitlines()
    assert not cut.endswith("}")
    assert json.loads(again)["id"] == run
    assert json.loads(value)["value"] == 0.5
    assert json.loads(status) == {"status": "finished"}


def records(path):
    """The records of a file of TensorBoard: length, its check sum, bytes, their check sum."""
    data = path.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        yield data[12 : 12 + length]
        data = data[16 + length :]


def events(folder):
    """The events of a run, in the order of its files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        event = pytest.importorskip("tensorboardX.proto.event_pb2", reason="no tensorboardX").Event
    files = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    return [event.FromString(record) for path in files for record in records(path)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_events_of_tensorboard_hold_scalars_histograms_and_images(tmp_path):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    with experiments.Recorder(tmp_path, "tensorboard") as recorder:
        run = recorder.run("one", {"lr": 0.1})
        for step in range(3):
            run.log(step, loss=step / 4)
        run.histogram("weights", np.array([0.0, 1.0, 1.0, 3.0]), 2, bins=3)
        run.image("picture", np.zeros((4, 6, 3)), 1)
        run.finish()
    found = events(tmp_path / "tensorboard" / "1-one")
    values = [(event.step, value) for event in found for value in event.summary.value]
    assert [(s, v.simple_value) for s, v in values if v.tag == "loss"] == [
        (0, 0.0),
        (1, 0.25),
        (2, 0.5),
    ]
    ((step, weights),) = ((s, v.histo) for s, v in values if v.tag == "weights")
    assert step == 2
    assert (weights.num, weights.min, weights.max) == (4, 0, 3)
    assert list(weights.bucket_limit)[-3:] == [1, 2, 3]
    assert list(weights.bucket)[-3:] == [1, 2, 1]
    ((step, picture),) = ((s, v.image) for s, v in values if v.tag == "picture")
    assert (step, picture.height, picture.width, picture.colorspace) == (1, 4, 6, 3)
    assert picture.encoded_image_string.startswith(b"\x89PNG")
    times = [event.wall_time for event in found if event.summary.value]
    assert abs(max(times) - min(times)) < 60


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_events_of_a_run_that_goes_on_hide_the_ones_before(tmp_path):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    with experiments.Recorder(tmp_path, "tensorboard") as recorder:
        run = recorder.run("one")
        run.log(0, loss=1.0)
        run.finish()
        run = recorder.run(resume=run.id)
        run.log(5, loss=2.0)
        run.finish()
    started = [e for e in events(tmp_path / "tensorboard" / "1-one") if e.HasField("session_log")]
    assert [event.step for event in started] == [5]


def test_a_sink_whose_library_is_missing_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(experiments.RecordError, match=r"pip install 'trace-net\[tensorboard\]'"):
        experiments.Recorder(tmp_path, "tensorboard")


def test_several_runs_at_once_have_a_file_each(tmp_path):
    with experiments.Recorder(tmp_path, ["csv", "jsonl"]) as recorder:
        one, two = recorder.run("same"), recorder.run("same")
        one.log(0, loss=1.0)
        two.log(0, loss=2.0)
    assert [float(lines(path)[0]["loss"]) for path in sorted((tmp_path / "csv").iterdir())] == [
        1,
        2,
    ]
    assert len(list((tmp_path / "jsonl").iterdir())) == 2


@pytest.mark.parametrize("name", ["a/b\\c", "<img src=x>", "..", "é 漢", "x" * 300, "a:b*?"])
def test_names_of_files_are_plain(name):
    made = naming.file_name({"id": 7, "name": name})
    assert made.startswith("7-")
    assert len(made) < 100
    assert not set(made) & set('/\\<>:"|?*\n ')
    assert Path(made).name == made


def test_the_sinks_are_registered():
    assert set(tracer.registry.sinks.provided_by("experiments")) == {"csv", "jsonl", "tensorboard"}
