"""`trace-net runs [list | show | compare | plot | export | remove]`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tracer.errors import TracerError, UsageError
from tracer_experiments import printing
from tracer_experiments.commands import comparing, exporting, fields, opening
from tracer_experiments.plots import cockpit as instruments
from tracer_experiments.plots import curves, files
from tracer_experiments.recorder import remove as remove_run
from tracer_experiments.store.reading import Columns, SeriesInfo
from tracer_experiments.stored_run import StoredRun

#: columns of a list that are always there
ALWAYS = 4
#: letters of a small curve, at most, and below which it is left out
CURVE, LEAST_CURVE = 24, 4

PathOption = Annotated[
    str | None, typer.Option("--path", help="The folder of the runs, or a .db file; else `runs`.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


class ListsByDefault(TyperGroup):
    """A group whose first command is meant where none is named: `trace-net runs DIR`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        asks_for_help = any(argument in ("--help", "-h") for argument in args[:1])
        first = args[0] if args else "-"
        if not asks_for_help and (first.startswith("-") or is_path(first, self.commands)):
            args = ["list", *args]
        return super().parse_args(ctx, args)


def is_path(text: str, commands: Any) -> bool:
    """Whether an argument is no command and a path."""
    return text not in commands and (opening.is_database(text) or Path(text).exists())


app = typer.Typer(
    cls=ListsByDefault,
    help="List, show, compare, draw, export and remove recorded runs.",
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    add_completion=False,  # that of `trace-net` completes it
    no_args_is_help=False,
)


@app.command("list")
def list_runs(
    path: Annotated[str, typer.Argument(help="A folder of runs, or a .db file.")] = opening.DEFAULT,
    group: Annotated[str | None, typer.Option(help="Runs of this group alone.")] = None,
    filter: Annotated[
        list[str] | None,
        typer.Option(help='Runs where this holds, as "lr<0.1", "optimizer=sgd" or "name~wide".'),
    ] = None,
    sort: Annotated[
        str, typer.Option(help="By a column, a setting or a series; -NAME for descending.")
    ] = "id",
    columns: Annotated[
        str | None, typer.Option(help="What to show besides id and name, with commas between.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List runs: a line for each, with its last loss and the settings that differ."""
    reader = opening.opened(path)
    known = [fields.Listed(run) for run in reader.runs(group=group)]
    if group is not None and not known:
        groups = dict.fromkeys(run.group for run in reader.runs() if run.group)
        raise UsageError(
            f"no run is of the group {group!r}", f"there are {', '.join(groups) or 'no groups'}"
        )
    listed = fields.ordered(fields.chosen(known, filter or []), sort)
    if as_json:
        printing.print_json("runs list", {"path": str(reader.path), "runs": [
            document(each) for each in listed]})  # fmt: skip
        return
    if not listed:
        what = "no run passes the filters" if known else "there are no runs yet"
        printing.note(f"{what} in {str(reader.path)!r}")
        return
    wanted = [name.strip() for name in (columns or "").split(",") if name.strip()]
    for name in wanted:
        fields.check_known(name, known, "--columns")
    shown = ["id", "name", *wanted] if wanted else usual_columns(listed)
    rows = [[shown_value(each, name) for name in shown] for each in listed]
    heads = [f">{name}" if is_right(listed, name) else name for name in shown]
    left_out = printing.print_table(heads, rows, least=ALWAYS)
    if left_out:
        printing.note(f"too narrow for {', '.join(left_out)}: --columns chooses")


def usual_columns(listed: list[fields.Listed]) -> list[str]:
    """The columns of a list where nobody says which: what is the same in all runs is left out."""
    found = ["id", "name", "status", "steps"]
    if any("loss" in each.series for each in listed):
        found.append("loss")
    found += [name for name in fields.differing(listed) if name not in found]
    test = dict.fromkeys(n for each in listed for n in each.series if n.startswith("test_"))
    found += [name for name in test if name not in found]
    if any(each.run.group for each in listed):
        found.append("group")
    return [*found, "seconds", "begun"]


def shown_value(each: fields.Listed, name: str) -> str:
    """A cell of a list."""
    value = each.value(name)
    if name == "begun":
        return printing.moment(each.run.begun)
    if name == "seconds":
        return printing.duration(each.run.seconds)
    return printing.shortened(printing.cell(value))


def is_right(listed: list[fields.Listed], name: str) -> bool:
    """Whether a column is of numbers."""
    values = [value for each in listed if (value := each.value(name)) is not None]
    return all(isinstance(value, int | float) for value in values)


def document(each: fields.Listed) -> dict[str, object]:
    """A run for JSON, with the last values of its series."""
    last = {name: info.last for name, info in each.series.items() if info.kind == "number"}
    return {**exporting.summary(each.run), "steps": each.steps, "last": last}


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="A run, by its id or name.")],
    path: Annotated[str, typer.Argument(help="A folder of runs, or a .db file.")] = opening.DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Show a run: its configuration, where it ran, and its series."""
    found = opening.run_of(opening.opened(path), run)
    listed = fields.Listed(found)
    if as_json:
        series = {name: described(info) for name, info in listed.series.items()}
        printing.print_json("runs show", {**document(listed), "series": series})
        return
    print_head(found)
    comparing.print_pairs("configuration", found.config)
    comparing.print_pairs("environment", comparing.flat(found.environment))
    print_series(found, listed.series)


def described(info: SeriesInfo) -> dict[str, object]:
    """A series for JSON."""
    return {
        "kind": info.kind,
        "count": info.count,
        "last_step": info.last_step,
        "last": info.last,
        "chart": None if info.chart is None else info.chart.to_dict(),
    }


def print_head(run: StoredRun) -> None:
    """What a run is, on one line, and what ended it."""
    group = f", group {run.group}" if run.group else ""
    text = (
        f"run {run.id}  {run.name}{group}  {run.status}, begun {printing.moment(run.begun)}, "
        f"{printing.duration(run.seconds)}"
    )
    out = printing.console()
    out.print(printing.printable(text), style="bold", soft_wrap=True)
    if run.error:
        out.print(f"error: {printing.printable(run.error)}", style="red", soft_wrap=True)


def print_series(run: StoredRun, series: Mapping[str, SeriesInfo]) -> None:
    """A line for each series; numbers have a small curve, as wide as there is room."""
    columns = ("series", "kind", ">points", ">last step", ">last", ">least", ">greatest")
    numbers = {
        name: exporting.readable(run, name, run.columns)
        for name, info in series.items()
        if info.kind == "number"
    }
    rows = [series_row(name, info, numbers.get(name)) for name, info in series.items()]
    if not rows:
        return
    width = min(CURVE, printing.room_beside(columns, rows) - printing.GAP)
    for name, row in zip(series, rows, strict=True):
        found = numbers.get(name)
        curve = "" if found is None else printing.sparkline(found.numbers, max(width, LEAST_CURVE))
        row.append("damaged" if name in numbers and found is None else curve)
    left_out = printing.print_table((*columns, ""), rows, least=ALWAYS)
    if left_out:
        printing.note(f"too narrow for {', '.join(name or 'curves' for name in left_out)}")


def series_row(name: str, info: SeriesInfo, columns: Columns | None) -> list[str]:
    """A series as a line of a table, without its curve."""
    row = [printing.printable(name), info.kind, f"{info.count:,}", f"{info.last_step:,}"]
    if columns is None:
        return [*row, "", "", ""]
    values = columns.numbers
    finite = values[values == values]
    ends = [finite.min(), finite.max()] if finite.size else [None, None]
    last = float(values[-1]) if len(values) else None
    return [*row, *(printing.cell(None if v is None else float(v)) for v in (last, *ends))]


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(help="Runs, by id or name; last the folder.")],
    path: PathOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare runs: configuration, environment and last values side by side, what differs first."""
    names, place = opening.divided(runs, path, least=2)
    reader = opening.opened(place)
    found = opening.runs_of(reader, names)
    if len(found) < 2:
        raise UsageError(
            f"compare takes two runs or more, got {', '.join(names)}", "`runs show` shows one"
        )
    listed = [fields.Listed(run) for run in found]
    if as_json:
        printing.print_json("runs compare", comparing.document(listed))
        return
    comparing.print_comparison(listed)


@app.command()
def plot(
    series: Annotated[
        list[str] | None, typer.Argument(help="Series to draw, as loss; last the folder.")
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", help="A .png, .svg or .pdf file; - is stdout (svg).")
    ] = "runs.svg",
    run: Annotated[
        list[str] | None, typer.Option(help="A run, by id or name; again for more. Else all.")
    ] = None,
    group: Annotated[str | None, typer.Option(help="Runs of this group alone.")] = None,
    smooth: Annotated[float, typer.Option(help="Weight of the past in an average, below 1.")] = 0.0,
    log: Annotated[bool, typer.Option(help="A logarithmic axis of values.")] = False,
    x: Annotated[str, typer.Option("--x", help="Along step, epoch or time.")] = "step",
    cockpit: Annotated[
        str | None, typer.Option(help="Draw the instruments of this run in place of series.")
    ] = None,
    path: PathOption = None,
) -> None:
    """Draw series of runs as curves, or the instruments of one."""
    names, place = opening.divided(series or [], path, least=0 if cockpit else 1)
    suffix = "svg" if output == "-" else Path(output).suffix.removeprefix(".").lower()
    if suffix not in files.FORMATS:
        raise UsageError(
            f"figures are {', '.join(files.FORMATS)}, got {output!r}",
            "name it so, as in -o loss.svg",
        )
    if not names and cockpit is None:
        raise UsageError("plot draws series, and none is named", "as in `trace-net runs plot loss`")
    reader = opening.opened(place)
    files.check_matplotlib()
    try:
        if cockpit is not None:
            figure = instruments.cockpit(opening.run_of(reader, cockpit), names or None)
        else:
            chosen = [r for r in opening.runs_of(reader, run or []) if group in (None, r.group)]
            if not chosen:
                raise UsageError("there are no runs to draw", "`trace-net runs list` lists them")
            figure = curves.curves(chosen, *names, x=x, smooth=smooth, log=log)
    except UsageError:
        raise
    except TracerError as error:
        raise UsageError(str(error), "`trace-net runs show RUN` lists its series") from error
    exporting.written(output, files.drawn(figure, suffix))
    if output != "-":
        printing.note(f"wrote {output}")


@app.command()
def export(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Runs, by id or name, else all; last the folder.")
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", help="A .csv, .jsonl or .npz file; - is stdout.")
    ] = "-",
    format: Annotated[
        str | None, typer.Option(help="csv, jsonl or npz; else by the file's suffix.")
    ] = None,
    path: PathOption = None,
) -> None:
    """Write runs into one file for other programs."""
    names, place = opening.divided(runs or [], path, least=0)
    suffix = format or ("csv" if output == "-" else Path(output).suffix.removeprefix("."))
    reader = opening.opened(place)
    found = opening.runs_of(reader, names)
    exporting.written(output, exporting.exported(found, suffix.lower()))
    if output != "-":
        printing.note(f"wrote {len(found)} {'run' if len(found) == 1 else 'runs'} into {output}")


@app.command()
def remove(
    runs: Annotated[list[str], typer.Argument(help="Runs, by id or name; last the folder.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    force: Annotated[bool, typer.Option(help="Also one that is running.")] = False,
    path: PathOption = None,
) -> None:
    """Remove runs and all that was recorded of them."""
    names, place = opening.divided(runs, path, least=1)
    reader = opening.opened(place)
    found = opening.runs_of(reader, names)
    for run in found:
        if run.status == "running" and not force:
            raise UsageError(
                f"the run {run.id} {run.name!r} is running", "--force removes it nevertheless"
            )
    listed = ", ".join(f"{run.id} {run.name!r}" for run in found)
    if not yes and not typer.confirm(f"remove {printing.printable(listed)}?", err=True):
        printing.note("nothing is removed")
        return
    reader.close()
    for run in found:
        remove_run(place, run.id, force=force)
    printing.note(f"removed {listed}")
