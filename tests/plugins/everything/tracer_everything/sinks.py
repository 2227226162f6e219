"""Sinks: where recorded runs are written to besides the recorder's database."""

from tracer.extend import Sink


class Names(Sink):
    """A file with the names of what was logged."""

    name = "everything_names"

    def write(self, run, points):
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / f"{run}.txt", "a", encoding="utf-8") as file:
            file.writelines(f"{name!r}\n" for _, _, name, _ in points)
