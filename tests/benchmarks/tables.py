"""Results as tables in Markdown, whose columns line up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from . import imported
from .curvature import GOALS, Cell, mean
from .growth import Growth
from .history import CHANGES
from .measure import PEERS, Row
from .networks import NETWORKS
from .processes import Memory
from .results import Results

COLUMNS = {name: name for name in ("NumPy", "trace-net", *PEERS)}
TIMES_HEADER = (
    *("network", "quantity", "trace-net, ms", "compiled, ms", "peer, ms"),
    *("ratio", "compiled", "goals", "floor, ms", "trace-net / floor"),
)
MEMORY_HEADER = (
    *("network", "quantity", "trace-net, MB", "peer, MB", "ratio"),
    *("trace-net's steps, MB", "peer's steps, MB", "ratio of steps"),
)
UNITS = {1e-6: "µs", 1e-3: "ms", 1.0: "s"}

#: the columns of ratios, counted from the left, and what they are of
Ratios = dict[int, Callable[[Cell], float | None]]
TIMES: Ratios = {
    5: lambda cell: cell.ratio,
    6: lambda cell: cell.compiled_ratio,
    9: lambda cell: cell.above_floor,
}
MEMORIES: Ratios = {4: lambda cell: cell.memory_ratio, 7: lambda cell: cell.growth_ratio}


def everything(results: Results) -> str:
    """All tables of what was measured, one below the other."""
    parts: list[str] = []
    if rows := of_libraries(results):
        parts.append(rows_table(rows))
    if rows := results.rows.get("imported"):
        parts.append(rows_table(rows, imported.COLUMNS))
    if results.cells:
        parts += [times_table(results.cells), memory_table(results.cells), summary(results.cells)]
        parts.append(rates_text(results))
    if results.growth:
        parts.append(growth_tables(results.growth))
    if results.scaling:
        parts.append(growth_tables(results.scaling))
    return "\n\n".join(parts)


def history_table() -> str:
    """What was made faster, before and after."""
    lines = [("change", "measured on", "before, ms", "after, ms", "ratio")]
    for change in CHANGES:
        ratio = f"{change.after / change.before:.2f}"
        lines.append((change.what, change.where, f"{change.before:g}", f"{change.after:g}", ratio))
    return aligned(lines, range(2, 5))


# -- rows ---------------------------------------------------------------------------------------


def of_libraries(results: Results) -> list[Row]:
    """The rows beside other libraries; those of imported models have columns of their own."""
    return [row for group, rows in results.rows.items() if group != "imported" for row in rows]


def rows_table(rows: Iterable[Row], columns: Mapping[str, str] = COLUMNS) -> str:
    """Measurements of one thing beside the peers' and beside goals; columns have titles."""
    header = ("measurement", *columns.values(), "goal", "reached")
    lines = [row_line(row, columns) for row in rows]
    return aligned([header, *lines], range(1, 1 + len(columns)))


def row_line(row: Row, columns: Iterable[str] = COLUMNS) -> tuple[str, ...]:
    """The cells of one row; goals and whether they are reached are in the same order."""
    ours = row.seconds["trace-net"]
    reached = (
        "yes" if not isinstance(ours, str) and ours <= g.seconds else "no" for g in row.goals
    )
    return (
        f"{row.what}, {UNITS[row.unit]}",
        *(time_in(row, column) for column in columns),
        "; ".join(goal.text for goal in row.goals),
        "; ".join(reached),
    )


def time_in(row: Row, column: str) -> str:
    """A time in the row's unit; empty where there is nothing to measure."""
    seconds = row.seconds.get(column, "")
    return seconds if isinstance(seconds, str) else f"{seconds / row.unit:.2f}"


# -- cells --------------------------------------------------------------------------------------


def times_table(cells: Sequence[Cell]) -> str:
    """Times of quantities beside the peer's and beside floors."""
    return cells_table(TIMES_HEADER, cells, times_line, TIMES)


def memory_table(cells: Sequence[Cell]) -> str:
    """Peak memory of quantities beside the peer's."""
    return cells_table(MEMORY_HEADER, cells, memory_line, MEMORIES)


def cells_table(
    header: tuple[str, ...],
    cells: Sequence[Cell],
    line: Callable[[Cell], tuple[str, ...]],
    ratios: Ratios,
) -> str:
    """A line per cell, and the geometric means of networks and of all."""
    lines = [header]
    for network in dict.fromkeys(cell.network for cell in cells):
        of_network = [cell for cell in cells if cell.network == network]
        lines += [*map(line, of_network), mean_line(network, of_network, ratios, len(header))]
    lines.append(mean_line("all", cells, ratios, len(header)))
    return aligned(lines, range(2, len(header)))


def times_line(cell: Cell) -> tuple[str, ...]:
    """The cells of a line of times."""
    times = map(milliseconds, (cell.ours, cell.compiled, cell.peer))
    ratio, compiled, above = (ratio_text(of(cell)) for of in TIMES.values())
    goals = GOALS.get(cell.network) if cell.quantity == "grad" else None
    goal = "" if goals is None else f"{goals[0]:g}, {goals[1]:g}"
    ratios = ratio, compiled, goal, milliseconds(cell.floor), above
    return cell.network, f"`{cell.quantity}`", *times, *ratios


def milliseconds(seconds: float | str | None) -> str:
    """A time, or why there is none; empty where it was not tried."""
    if seconds is None:
        return ""
    return seconds if isinstance(seconds, str) else f"{seconds * 1e3:.1f}"


def memory_line(cell: Cell) -> tuple[str, ...]:
    """The cells of a line of memory."""
    both = (cell.our_memory, cell.peer_memory)
    peaks = (megabytes(memory, lambda memory: memory.peak) for memory in both)
    growths = (megabytes(memory, lambda memory: memory.growth) for memory in both)
    ratio, grown = (ratio_text(of(cell)) for of in MEMORIES.values())
    return cell.network, f"`{cell.quantity}`", *peaks, ratio, *growths, grown


def mean_line(network: str, cells: Sequence[Cell], ratios: Ratios, width: int) -> tuple[str, ...]:
    """The line of geometric means."""
    means = {at: f"**{ratio_text(mean(map(of, cells))) or 'none'}**" for at, of in ratios.items()}
    return network, "**mean**", *(means.get(at, "") for at in range(2, width))


def summary(cells: Sequence[Cell]) -> str:
    """In how many cells trace-net takes more than the peer, and the means of quantities."""
    of_each = {"time": TIMES[5], "time with compiled kernels": TIMES[6], "memory": MEMORIES[4]}
    texts = []
    for what, of in of_each.items():
        ratios = [ratio for ratio in map(of, cells) if ratio is not None]
        if ratios:
            texts.append(f"{sum(ratio > 1 for ratio in ratios)} of {len(ratios)} cells in {what}")
    others = [cell for cell in cells if cell.quantity != "grad"]
    numpy, compiled = (ratio_text(mean(map(of, others))) for of in (TIMES[5], TIMES[6]))
    with_kernels = f", {compiled} with compiled kernels" if compiled else ""
    none = "" if compiled else " There were no compiled kernels in this run."
    return (
        f"Above the peer: {', '.join(texts) or 'none'}. Quantities but the gradient take "
        f"{numpy or 'none'} of the peer's time on average{with_kernels}; the goals are 0.45 and "
        f"0.30.{none}"
    )


def runs_table(runs: Iterable[Results]) -> str:
    """A line for each run: the mean ratio to the peer of each network, by NumPy and compiled."""
    lines = [("date", "processor", *NETWORKS)]
    for run in runs:
        means = []
        for network in NETWORKS:
            cells = [cell for cell in run.cells if cell.network == network]
            both = (ratio_text(mean(map(of, cells))) for of in (TIMES[5], TIMES[6]))
            means.append(", ".join(filter(None, both)))
        lines.append((run.environment.date, run.environment.processor, *means))
    return aligned(lines, range(2, 2 + len(NETWORKS)))


def rates_text(results: Results) -> str:
    """The rates that floors are counted with."""
    if results.rates is None:
        return "No floors were counted."
    flops, copied = 2 * results.rates.multiply_adds / 1e9, results.rates.copied / 1e9
    return f"Floors are at {flops:.0f} GFLOP/s of sgemm and {copied:.1f} GB/s of copying."


def megabytes(memory: Memory | None, of: Callable[[Memory], int]) -> str:
    """A part of a memory in megabytes; empty if it is unknown."""
    return "" if memory is None else f"{of(memory) / 1e6:.0f}"


def ratio_text(ratio: float | None) -> str:
    """A ratio to two digits; empty if there is none."""
    return "" if ratio is None else f"{ratio:.2f}"


# -- growth -------------------------------------------------------------------------------------


def growth_tables(lines: Sequence[Growth]) -> str:
    """A table for each thing that grows, with a line per quantity."""
    tables = []
    for axis in dict.fromkeys(line.axis for line in lines):
        of_axis = [line for line in lines if line.axis == axis]
        header = ("quantity", *(f"{axis} = {n:,}, ms" for n in of_axis[0].seconds), "exponent")
        tables.append(aligned([header, *map(growth_line, of_axis)], range(1, len(header))))
    return "\n\n".join(tables)


def growth_line(line: Growth) -> tuple[str, ...]:
    """The cells of one line."""
    times = (f"{seconds * 1e3:.1f}" for seconds in line.seconds.values())
    return f"`{line.quantity}`", *times, f"{line.exponent:.2f}"


# -- all ----------------------------------------------------------------------------------------


def aligned(lines: Sequence[tuple[str, ...]], numbers: range) -> str:
    """A table in Markdown whose columns line up, those of numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

    def text(cells: Iterable[str]) -> str:
        padded = (
            cell.rjust(width) if i in numbers else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    rule = ["-" * (width - 1) + (":" if i in numbers else "-") for i, width in enumerate(widths)]
    return "\n".join([text(lines[0]), text(rule), *map(text, lines[1:])])
