"""Where runs are written to besides the database: CSV, JSON lines, TensorBoard."""

from tracer_experiments.sinks.csv_files import CSV
from tracer_experiments.sinks.json_lines import JSONLines
from tracer_experiments.sinks.tensorboard import TensorBoard

__all__ = ["CSV", "JSONLines", "TensorBoard"]
