"""In the library, too, a failure names the plugin: pictures, overlays, quantities, libraries."""

import pickle

import numpy as np
import pytest

import tracer
from tracer import GraphError, PluginError, QuantityError, registry


@pytest.fixture
def guest():
    """Register things of a plugin `guest` for the time of a test."""
    registry.load_plugins()
    added = []

    def add(target, thing):
        added.append((target, target.add(thing, "guest")))

    yield add
    for target, thing in added:
        target.forget(thing.name, thing)


def traced():
    w = tracer.parameter(np.ones(3), "w")
    with tracer.Tape() as tape:
        loss = np.sum(tracer.batch(np.ones((2, 3))) * w)
    return tape, loss


def test_a_renderer_that_raises_or_returns_text(guest):
    class Text(tracer.Renderer):
        name = "test_text"

        def render(self, graph, options):
            if options.title:
                raise GraphError("no titles")
            return "text"

    guest(registry.renderers, Text())
    tape, _ = traced()
    message = r"plugin 'guest': the renderer 'test_text' returned str 'text'.*test_guarded\.py:\d+"
    with pytest.raises(PluginError, match=message) as caught:
        tape.draw().render("test_text")
    assert caught.value.plugin == "guest"
    assert "TRACER_DISABLE_PLUGINS=guest" in caught.value.remedy
    assert caught.value.remedy in str(pickle.loads(pickle.dumps(caught.value)))
    with pytest.raises(GraphError, match="no titles"):
        tape.draw(title="x").render("test_text")


def test_an_overlay_that_raises_or_needs_what_a_tape_does_not_hold(guest):
    class Raising(tracer.Overlay):
        name = "test_raising"

        def values(self, graph, results):
            return results["grad"]

    class Needing(Raising):
        name = "test_needing"
        quantities = ("grad",)

    guest(registry.overlays, Raising())
    guest(registry.overlays, Needing())
    tape, _ = traced()
    with pytest.raises(PluginError, match="overlay 'test_raising' of plugin 'guest' failed: Key"):
        tape.draw(overlay="test_raising")
    with pytest.raises(GraphError, match=r"reads grad.*trace-net visualize MODEL --overlay"):
        tape.draw(overlay="test_needing")


def test_a_quantity_refuses_or_fails(guest):
    class Mine(tracer.Quantity):
        name = "test_failing"
        refuses = False

        def extract(self, cotangent, context):
            if self.refuses:
                raise QuantityError("not of this")
            return [][1]

    guest(registry.quantities, Mine)
    tape, loss = traced()
    with pytest.raises(PluginError, match=r"extract of 'test_failing' of plugin 'guest'.*Index"):
        tape.backward(loss, "test_failing")
    Mine.refuses = True
    with pytest.raises(QuantityError, match="not of this"):
        tape.backward(loss, "test_failing")
    assert tape.backward(loss)["grad"]["w"].tolist() == [2, 2, 2]


def test_a_library_that_fails_to_know_its_arrays(guest):
    class Library(tracer.Backend):
        name = "test_library"

        def matches(self, kind):
            return kind.nothing

    guest(registry.backends, Library())
    strange = type("Strange", (), {"__module__": "strange"})()
    with pytest.raises(PluginError, match="matches of the array library 'test_library' of plugin"):
        tracer.backend.of(strange)
