"""Commands: functions; `trace-net softclip` takes their annotated parameters."""

import math

import tracer


def softclip(target: tracer.Target, largest: int = 3) -> None:
    """Print the largest parameters of a model, with the norms of their gradients."""
    tape, loss = target.record()
    gradients = tape.backward(loss)["grad"]
    by_size = sorted(gradients.items(), key=lambda item: -math.prod(item[1].shape))
    for name, gradient in by_size[:largest]:
        print(f"{name}  {list(gradient.shape)}  {math.sqrt((gradient**2).sum()):.4g}")
