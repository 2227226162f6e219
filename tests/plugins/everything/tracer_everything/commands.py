"""Commands: one of a model, and one with commands of its own."""

import typer
from tracer import Target
from tracer.extend import Command, settings

app = typer.Typer()


def largest(target: Target, count: int | None = None) -> None:
    """Print the parameters with the largest sums of gradients' magnitudes."""
    tape, loss = target.record()
    sums = tape.backward(loss, "everything_l1")["everything_l1"]
    count = count or settings("everything", count=3)["count"]
    for name, value in sorted(sums.items(), key=lambda item: -item[1].sum())[:count]:
        print(f"{name} {value.sum():.6g}")


@app.command()
def greet(name: str = "world") -> None:
    """Greet."""
    print(f"hello, {name}")


@app.command()
def events() -> None:
    """Print what the hooks have heard in this process."""
    from tracer_everything.hooks import HEARD

    print(*HEARD)


COMMANDS = [
    Command("largest", largest),
    Command("everything", app, help="Commands of the plugin everything."),
]
