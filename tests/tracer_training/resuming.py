"""A training that is killed and goes on: `python resuming.py FOLDER`, run by the tests.

It ends with the bits of all that it trained in `FOLDER/final.safetensors`.
"""

import sys
from pathlib import Path

import numpy as np

import tracer
import tracer_layers as nn
import tracer_training as training


def main(folder):
    tracer.seed(0)
    np.random.seed(0)  # noqa: NPY002
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 6), dtype=np.float32)
    y = (x @ rng.standard_normal((6, 3), dtype=np.float32)).argmax(1)
    model = nn.Sequential(
        nn.Linear(6, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(16, 16),
        nn.Dropout(0.2, rng=np.random.default_rng(5)),
        nn.Linear(16, 3),
    )
    optimizer = training.Adam(model.parameters(), lr=0.01, amsgrad=True)
    loader = training.DataLoader(
        training.ArrayDataset(x, y),
        batch_size=16,
        shuffle=True,
        rng=3,
        num_workers=2,
        transform=lambda x, rng: x + 0.1 * rng.standard_normal(x.shape, dtype=np.float32),
    )
    path = folder / "checkpoint.safetensors"
    training.fit(
        model,
        nn.cross_entropy,
        loader,
        training.ArrayDataset(x, y),
        optimizer=optimizer,
        schedule=training.CosineAnnealingLR(optimizer, T_max=60),
        epochs=5,
        checkpoint=training.Checkpoint(path, every_steps=1),
        resume=True,
        progress=False,
    )
    training.save_checkpoint(folder / "final.safetensors", model=model, optimizer=optimizer)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
