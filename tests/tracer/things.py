"""One thing of each kind that plugins register, under names that nothing else has."""

import tracer
from tracer import extend


class Kind(tracer.Rows):
    name = "test_rows"


class Shade(tracer.Overlay):
    name = "test_shade"

    def values(self, graph, results):
        return {}


class Paint(tracer.Renderer):
    name = "test_paint"

    def render(self, graph, options):
        return b""


class Lathe(extend.Compiled):
    name = "test_lathe"


class Library(tracer.Backend):
    name = "test_library"


class Amount(tracer.Quantity):
    name = "test_amount"


class Gauge(extend.Instrument):
    name = "test_gauge"

    def measure(self, observation):
        return 0.0


class Drain(extend.Sink):
    name = "test_drain"

    def write(self, run, points):
        pass


class Diary(extend.Tracker):
    name = "test_diary"

    def run(self, path, name, config, **options):
        return None


class Crease(extend.Fold):
    name = "test_crease"

    def results(self, model, loss, data, quantities, **options):
        return {}


class Crew(extend.Team):
    name = "test_crew"

    def join(self):
        return None


class Dice(extend.Sampler):
    name = "test_dice"

    def ask(self, number):
        return None


class Door(extend.Importer):
    name = "test_door"


def gate(x):
    """A function of an imported operator."""
    return x


def act():
    """A command."""
