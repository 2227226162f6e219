"""Experiments: runs are recorded, compared, plotted and looked into.

    import tracer_experiments as experiments
    run = experiments.Recorder("runs").run("first", config={"lr": 0.1})
    run.log(0, loss=2.3)
    run.finish()

Checks of instruments train a network of `tracer_layers` by `tracer_training`.
"""

from tracer_experiments.charts import Chart
from tracer_experiments.instruments import Instruments, NotMeasured, Observation
from tracer_experiments.recorder import Reader, Recorder
from tracer_experiments.run import RecordWarning, Run
from tracer_experiments.store.reading import Points, SeriesInfo
from tracer_experiments.store.schema import RecordError
from tracer_experiments.stored_run import StoredRun
from tracer_experiments.values import Histogram, Late

__all__ = [
    "Chart",
    "Histogram",
    "Instruments",
    "Late",
    "NotMeasured",
    "Observation",
    "Points",
    "Reader",
    "RecordError",
    "RecordWarning",
    "Recorder",
    "Run",
    "SeriesInfo",
    "StoredRun",
]
