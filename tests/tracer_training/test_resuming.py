"""A training that is killed at any moment goes on to the same bits."""

import contextlib
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tracer.extend import read_safetensors

PROGRAM = Path(__file__).with_name("resuming.py")
#: how many trainings are killed
EVERY = 20


def start(folder):
    return subprocess.Popen([sys.executable, str(PROGRAM), str(folder)], stderr=subprocess.PIPE)


def finish(folder):
    process = start(folder)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors.decode()
    return read_safetensors(folder / "final.safetensors")[0]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return finish(tmp_path_factory.mktemp("whole"))


def killed_and_resumed(folder, checkpoints, rng):
    """The end of a training that is killed a moment after so many checkpoints, and if it was."""
    process, seen = start(folder), set()
    while len(seen) < checkpoints and process.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            seen.add((folder / "checkpoint.safetensors").stat().st_mtime_ns)
    time.sleep(rng.uniform(0, 0.004))
    was_killed = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return finish(folder), was_killed


def same_bits(found, wanted):
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert array.tobytes() == found[name].tobytes(), name


@pytest.mark.slow
def test_a_training_that_is_killed_goes_on_to_the_same_bits(uninterrupted, tmp_path):
    rng = random.Random(0)
    killed = 0
    for number in range(EVERY):
        folder = tmp_path / str(number)
        folder.mkdir()
        found, was_killed = killed_and_resumed(folder, rng.randrange(25), rng)
        same_bits(found, uninterrupted)
        killed += was_killed
    assert killed > EVERY // 2


def test_a_training_that_is_stopped_after_any_step_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    """The same within one process, for each of the steps of two epochs."""
    import tracer
    import tracer_layers as nn
    import tracer_training as training

    class StopAfter:
        def __init__(self, step):
            self.last = step

        def end_step(self, run):
            if run.step == self.last:
                raise KeyboardInterrupt

    def train(path, last):
        tracer.seed(1)
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((22, 3), dtype=np.float32), rng.integers(0, 2, 22)
        model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
        optimizer = training.AdamW(model.parameters(), lr=0.1)
        history = training.fit(
            model,
            nn.cross_entropy,
            training.DataLoader(
                training.ArrayDataset(x, y), batch_size=4, shuffle=True, rng=0, num_workers=1
            ),
            training.ArrayDataset(x, y),
            optimizer=optimizer,
            schedule=training.ExponentialLR(optimizer, gamma=0.9),
            epochs=2,
            checkpoint=training.Checkpoint(path, every_steps=1),
            resume=True,
            callbacks=[StopAfter(last)],
            progress=False,
        )
        for record in history:
            record.pop("seconds")
        return model.state_dict(), list(history)

    wanted, history = train(tmp_path / "whole", None)
    for last in range(1, 13):
        path = tmp_path / f"{last}"
        with pytest.raises(KeyboardInterrupt):
            train(path, last)
        found, again = train(path, None)
        same_bits(found, wanted)
        assert again == history
