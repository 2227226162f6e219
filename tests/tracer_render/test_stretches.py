"""Modules that are left and entered again: a frame for each stretch, and no line through others."""

from hypothesis import example, given, settings
from hypothesis import strategies as st
from render_graphs import Net

from tracer.extend import DrawOptions
from tracer_render import mirror
from tracer_render.engines import place
from tracer_render.layout import layered
from tracer_render.picture import clusters, describe
from tracer_render.quality import measure

SCOPES = ("", "a", "a.c", "a.d", "a.d.e", "b", "b.c")


def net(*operations, both=False):
    """Operations by their module and how far back in the row what they are made of is."""
    made = Net()
    values = [made.leaf("input", "x")]
    for scope, back in operations:
        inputs = dict.fromkeys(values[max(0, len(values) - distance)] for distance in back)
        classes = [part.upper() for part in scope.split(".")] if scope else []
        values.append(made.op("add", *inputs, scope=scope, scopes=classes))
    return made.both() if both else made.graph


def titles(picture):
    """Of frames, by what stands directly in them in the order of recording."""
    frames = [each for each in clusters(picture.root) if each.boxes and each.path]
    return [each.title for each in sorted(frames, key=lambda each: int(each.boxes[0].node[1:]))]


scattered = st.builds(
    lambda operations, both: net(*operations, both=both),
    st.lists(
        st.tuples(st.sampled_from(SCOPES), st.lists(st.integers(1, 5), min_size=1, max_size=2)),
        min_size=1,
        max_size=14,
    ),
    st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(scattered)
def test_no_line_goes_through_the_frame_of_a_module_that_neither_end_is_in(graph):
    picture = describe(graph, DrawOptions())
    assert measure(picture, layered(picture)).foreign == 0


@settings(max_examples=80, deadline=None)
@given(scattered)
def test_nor_where_both_halves_are_in_one_frame(graph):
    picture = describe(graph, DrawOptions())
    halves = mirror.split(picture)
    if halves is not None:
        placed = mirror.whole(picture, halves, layered(halves.forward))
        assert measure(picture, placed).foreign == 0


@settings(max_examples=15, deadline=None)
@given(scattered)
@example(net(("a.d.e", [1]), ("", [1]), ("", [2, 3]), both=True))
def test_nor_in_the_layout_that_is_chosen(graph):
    picture = describe(graph, DrawOptions())
    assert measure(picture, place(picture, 30)).foreign == 0


def test_each_stretch_says_which_it_is():
    graph = net(("a", [1]), ("b", [1]), ("a", [1]), ("", [1]))
    picture = describe(graph, DrawOptions())
    assert titles(picture) == ["a · A, part 1 of 2", "b · B", "a · A, part 2 of 2"]


def test_a_module_in_a_module_is_in_stretches_too():
    graph = net(("a.c", [1]), ("a", [1]), ("a.c", [1]), ("b", [1]))
    picture = describe(graph, DrawOptions())
    assert titles(picture) == [*("c · C, part 1 of 2", "a · A", "c · C, part 2 of 2", "b · B")]


def test_modules_that_take_turns_but_read_nothing_of_each_other_are_whole():
    graph = net(("a", [1]), ("b", [2]), ("a", [2]), ("b", [2]))
    assert titles(describe(graph, DrawOptions())) == ["a · A", "b · B"]


def test_a_cotangent_stands_in_the_frame_of_its_value():
    picture = describe(net(("a", [1]), ("b", [1]), ("a", [1]), both=True), DrawOptions())
    scopes = {box.id: box.scope for box in picture.boxes}
    assert len(picture.pairs) == 3
    assert all(scopes[value] == scopes[other] for value, other in picture.pairs.items())
