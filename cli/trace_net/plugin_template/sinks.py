"""Sinks: where recorded runs are written to besides the recorder's database."""

from tracer.extend import Sink


class SoftClipSink(Sink):
    """A text file of each run with a line for each number."""

    name = "softclip"

    def write(self, run, points):
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / f"{run}.txt", "a", encoding="utf-8") as file:
            for step, seconds, name, value in points:
                if isinstance(value, float):
                    file.write(f"{step} {seconds:.3f} {name!r} {value}\n")
