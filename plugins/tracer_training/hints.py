"""What to write for names of PyTorch's that are called otherwise here."""

from __future__ import annotations

from collections.abc import Iterable

from tracer.extend import missing

#: name -> what to write
NAMES = {
    "optim": "the optimisers are in tracer_training itself, as tracer_training.AdamW",
    "lr_scheduler": "the schedules are in tracer_training itself, as tracer_training.StepLR",
    "clip_grad_norm_": "write clip_grad_norm(results, max_norm), on the results of a sweep",
    "clip_grad_value_": "write clip_grad_value(results, clip_value), on the results of a sweep",
    "TensorDataset": "write ArrayDataset(x, y)",
    "GradScaler": 'write LossScale, or fit(..., precision="float16")',
    "autocast": 'write half_weights(model.parameters()), or fit(..., precision="float16")',
    "Trainer": "write fit(model, loss, train, test, optimizer=optimizer, epochs=10)",
    "EMA": "write ExponentialMovingAverage(model, decay)",
    "save": "write save_checkpoint(path, model=model, optimizer=optimizer), or model.save(path)",
    "load": "write load_checkpoint(path, model=model, optimizer=optimizer), or model.load(path)",
    "train_test_split": "write stratified_split(ArrayDataset(x, y), 0.8), or random_split",
    "SparseAdam": "gradients are dense here: write Adam",
}


def no_name(name: str, known: Iterable[str]) -> AttributeError:
    """The error for a name that `tracer_training` does not have."""
    return missing("module 'tracer_training'", name, NAMES.get(name), known)
