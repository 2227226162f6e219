"""A plugin that is broken is named, with its distribution, file and line, and what to do."""

import json
import sys
import textwrap
from importlib import metadata

import pytest

import tracer
from tracer import PluginError, blame, registry
from tracer.plugins import load

DISTRIBUTION = "the-guest"


@pytest.fixture
def install(folder, capsys):
    """Install a distribution with a plugin `guest` of some code, and give what loading says."""
    loader, before = load(), list(sys.path)
    sys.path.insert(0, str(folder))
    loaded = []

    def add(code, requires="", name="guest", value=""):
        module = f"module_of_{name}"
        (folder / f"{module}.py").write_text(IMPORTS + textwrap.dedent(code), encoding="utf-8")
        info = folder / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {DISTRIBUTION}\nVersion: 1.0\n{requires}"
        )
        (info / "entry_points.txt").write_text(f"[tracer]\n{name} = {value or module}\n")
        (point,) = metadata.Distribution.at(info).entry_points
        capsys.readouterr()
        loaded.append(name)
        loader.load_point(point)
        return capsys.readouterr().err

    yield add
    for name in loaded:
        loader.unload(name)
    sys.path[:] = before


IMPORTS = """\
import numpy as np, tracer, typer
from tracer import Command, Overlay, Quantity, Renderer, Rows, hookimpl
"""

QUANTITY = """
    class Mine(Quantity):
        name = "guest_norm"
        {more}
        def extract(self, cotangent, context):
            {extract}

    @hookimpl
    def register_quantities():
        return [Mine]
"""
OVERLAY = """
    class Mine(Overlay):
        name = "guest_shade"
        {more}
        def values(self, graph, results):
            {values}

    @hookimpl
    def register_overlays():
        return [Mine()]
"""
RENDERER = """
    class Mine(Renderer):
        name = "guest"

        def render(self, graph, options):
            {render}

    @hookimpl
    def register_renderers():
        return [Mine()]
"""
COMMAND = """
    def act({parameters}):
        {act}

    @hookimpl
    def register_commands():
        return [Command({name!r}, act)]
"""
OPERATION = """
    @tracer.operation("guest_sine", numpy=np.sin{replaces})
    class Mine(tracer.Elementwise):
        saves = ("inputs",)

        def forward(x):
            return np.sin(x)

        def vjp(node, g):
            {vjp}

    @hookimpl
    def register_operations():
        return [Mine]
"""


def returned(hook, value):
    return f"@hookimpl\ndef {hook}():\n    return {value}\n"


#: what is broken -> the code, the line that is to be named (0: none), and what is said
WHILE_LOADING = {
    "import": ("1 / 0", 3, "ZeroDivisionError"),
    "import of another": ("import numpy\nimport not_there", 4, "No module named 'not_there'"),
    "syntax": ("x = 1\ndef (", 4, "SyntaxError"),
    "exit": ("import sys\nsys.exit(3)", 4, "SystemExit: 3"),
    "hook": (
        "@hookimpl\ndef register_overlays():\n    return [1 / 0]", 5,
        "its hook register_overlays raised ZeroDivisionError: division by zero",
    ),
    "constructor in a hook": (
        "class Mine(Overlay):\n    name = 'x'\n    def __init__(self):\n        1 / 0\n"
        "    def values(self, graph, results): ...\n" + returned("register_overlays", "[Mine()]"),
        6, "its hook register_overlays raised ZeroDivisionError",
    ),
    "abstract renderer": (
        "class Mine(Renderer):\n    name = 'x'\n" + returned("register_renderers", "[Mine()]"),
        7, "TypeError: Can't instantiate abstract class Mine",
    ),
    "no list": (returned("register_rows", "3"), 0, "hook register_rows returned 3, where a list"),
    "text": (returned("register_rows", "'ab'"), 0, "returned 'ab', where a list was expected"),
    "misspelt hook": (returned("register_row", "[]"), 3, "Did you mean 'register_rows'?"),
    "unmarked hook": (
        "def register_rows():\n    return []", 3,
        "register_rows is named as a hook and not marked as one: put @tracer.hookimpl above it",
    ),
    "unmarked and misspelt": (
        "def register_overlay():\n    return []", 3,
        "Did you mean 'register_overlays' by its function register_overlay?",
    ),
    "arguments of a hook": (
        "@hookimpl\ndef begin_trace(tapes): ...", 0, "Argument(s) {'tapes'} are declared",
    ),
    "class of an overlay": (
        OVERLAY.format(more="", values="...").replace("Mine()", "Mine"), 4,
        "the class Mine as overlay, where an instance is expected: give Mine()",
    ),
    "instance of a quantity": (
        QUANTITY.format(more="", extract="...").replace("[Mine]", "[Mine()]"), 4,
        "where the class is expected: give Mine itself",
    ),
    "no renderer": (
        "class Mine:\n    name = 'x'\n" + returned("register_renderers", "[Mine()]"), 3,
        "as renderer, which is no tracer.Renderer",
    ),
    "class that is no operation": (
        "class Mine(tracer.Operation):\n    name = 'x'\n"
        + returned("register_operations", "[Mine]"),
        3, "the class Mine as operation, where an instance is expected",
    ),
    "no name": (
        QUANTITY.format(more="name = ''", extract="..."), 4, "give it a non-empty string attribute",
    ),
    "the same twice": (
        QUANTITY.format(more="", extract="...").replace("[Mine]", "[Mine, Mine]"), 4,
        "it registers the quantity 'guest_norm' twice",
    ),
    "a name that is taken": (
        QUANTITY.format(more="name = 'grad'", extract="..."), 4,
        "registers the quantity 'grad', which plugin 'quantities' has registered already",
    ),
    "a function that is taken": (
        OPERATION.format(replaces="", vjp="..."), 4,
        "plugin 'guest' takes numpy.sin on tensors for 'guest_sine'",
    ),
    "a function taken at import": (
        "@tracer.implements(np.kron)\ndef kron(a, b): ...", 3, "plugin 'guest' takes numpy.kron",
    ),
    "another's name to replace": (
        QUANTITY.format(more="replaces = 'grad'", extract="..."), 4,
        "'guest_norm' replaces 'grad', and what replaces another has its name",
    ),
    "class of rows": (
        QUANTITY.format(more="rows = tracer.GGNMonteCarlo", extract="..."), 4,
        "has the class GGNMonteCarlo as rows, where an instance is expected",
    ),
    "no rows": (
        QUANTITY.format(more="rows = 3", extract="..."), 4, "has 3 as rows, where an instance of",
    ),
    "quantities of an overlay": (
        OVERLAY.format(more="quantities = 'grad'", values="..."), 4,
        "has quantities = 'grad': give a tuple of names",
    ),
    "a built-in command": (
        COMMAND.format(name="check", parameters="", act="..."), 4,
        "the command 'check' is one of trace-net's own",
    ),
    "a command of two words": (
        COMMAND.format(name="be quiet", parameters="", act="..."), 4, "cannot be typed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WHILE_LOADING)
def test_a_plugin_that_does_not_load(what, install, command):
    code, line, message = WHILE_LOADING[what]
    everything = [dict(target) for target in registry.BY_HOOK.values()]
    told = install(code)
    (told,) = told.splitlines()
    assert f"plugin 'guest' of distribution '{DISTRIBUTION}' failed: " in told
    assert message in told
    assert "Remove it with `pip uninstall the-guest`" in told
    assert "TRACER_DISABLE_PLUGINS=guest" in told
    if line:
        assert f"module_of_guest.py:{line}" in told
    assert everything == [dict(target) for target in registry.BY_HOOK.values()]
    outcome = command("plugins", "guest")
    assert (outcome.code, command("plugins").code) == (4, 4)
    assert message.split("\n")[0] in " ".join(outcome.out.split())


@pytest.mark.parametrize(
    ("requires", "message"),
    [
        ("Requires-Dist: trace-net>=99", "it needs trace-net>=99, and "),
        ("Requires-Dist: trace_net [plot] <0.0.1", "it needs trace-net<0.0.1, and "),
        ("Requires-Dist: trace-net === what ever", "cannot be read"),
        ('Requires-Dist: trace-net>=99 ; python_version < "3"', ""),
        ("Requires-Dist: trace-net-more>=99\nRequires-Dist: trace-net", ""),
    ],
)
def test_the_version_that_a_plugin_asks_for(requires, message, install):
    told = install("NOT = 'imported'", requires=f"{requires}\n")
    assert message in told
    assert bool(told) == bool(message)
    assert ("module_of_guest" in sys.modules) == (not message)


def test_an_entry_point_of_nothing(install):
    assert "(entry point not_there_at_all)" in install("", value="not_there_at_all")
    assert "it is the class Mine, whose hooks" in install(
        "class Mine: ...", name="other", value="module_of_other:Mine"
    )


#: what is broken -> the code, the line that is to be named, what fails, and the command that tells
QUANTITIES = ("quantities", "plain.py", "--quantity")
VISUALIZE = ("visualize", "plain.py", "-o", "-", "--format", "json")
WHILE_RUNNING = {
    "extract": (
        QUANTITY.format(more="", extract="return 1 / 0"), 8, "extract of 'guest_norm'",
        (*QUANTITIES, "guest_norm"),
    ),
    "finish": (
        QUANTITY.format(more="finish = lambda self, *_: 1 / 0", extract="return cotangent.total()"),
        6, "finish of 'guest_norm'", (*QUANTITIES, "guest_norm"),
    ),
    "a misuse in extract": (
        QUANTITY.format(more="", extract="return tracer.registry.quantities['none']"), 8,
        "extract of 'guest_norm'", (*QUANTITIES, "guest_norm"),
    ),
    "writing in extract": (
        QUANTITY.format(
            more="", extract="[x] = [v for v in vars(cotangent).values() if type(v) is A]; x += 1"
        ).replace("is A", "is np.ndarray][:1"),
        8, "writes into what its cotangent gave", (*QUANTITIES, "guest_norm"),
    ),
    "constructor": (
        QUANTITY.format(more="__init__ = lambda self, size: None", extract="return 0"), 4,
        "the constructor of 'guest_norm'", (*QUANTITIES, "guest_norm"),
    ),
    "rows": (
        "class Kind(Rows):\n    name = 'guest_rows'\n    def start(self, term, rng):\n"
        "        return 1 / 0\n"
        + textwrap.dedent(QUANTITY.format(more="rows = Kind()", extract="return 0")),
        6, "start of 'guest_rows'", (*QUANTITIES, "guest_norm"),
    ),
    "vjp": (
        OPERATION.format(replaces=", replaces=np.sin", vjp="return 1 / 0"), 12, "the vjp of",
        ("quantities", "sine.py"),
    ),
    "vjp of what is not saved": (
        OPERATION.format(replaces=", replaces=np.sin", vjp="return (g * node.output,)"), 12,
        "the rule reads what was not saved: write saves = ('inputs', 'output')",
        ("quantities", "sine.py"),
    ),
    "another rule": (
        OPERATION.format(replaces=", replaces=np.sin", vjp="return (g,)").replace(
            "def vjp", "def flops(node):\n            return node.nothing\n\n        def vjp"
        ),
        12, "flops of the operation 'guest_sine'", ("summary", "sine.py"),
    ),
    "overlay": (
        OVERLAY.format(more="", values="return {1: 1 / 0}"), 8, "the overlay 'guest_shade'",
        (*VISUALIZE, "--overlay", "guest_shade"),
    ),
    "overlay without values": (
        OVERLAY.format(more="", values="return 3"), 7,
        "the overlay 'guest_shade' returned int 3, where node ids with numbers are expected",
        (*VISUALIZE, "--overlay", "guest_shade"),
    ),
    "overlay of other nodes": (
        OVERLAY.format(more="", values="return {'w': 1.0}"), 7, "'w', which is no node's id",
        (*VISUALIZE, "--overlay", "guest_shade"),
    ),
    "overlay of texts": (
        OVERLAY.format(more="", values="return dict.fromkeys(graph, 'red')"), 7,
        "where a number is expected", (*VISUALIZE, "--overlay", "guest_shade"),
    ),
    "overlay of a quantity that is none": (
        OVERLAY.format(more="quantities = ('kfacc',)", values="return {}"), 4,
        "Did you mean 'kfac'?", (*VISUALIZE, "--overlay", "guest_shade"),
    ),
    "renderer": (
        RENDERER.format(render="return [][1]"), 8, "the renderer 'guest'",
        ("visualize", "plain.py", "--format", "guest"),
    ),
    "renderer of text": (
        RENDERER.format(render="return 'text'"), 7,
        "returned str 'text', where bytes are expected: encode it",
        ("visualize", "plain.py", "--format", "guest"),
    ),
    "command": (
        COMMAND.format(name="guest", parameters="", act="1 / 0"), 5, "the command 'guest'",
        ("guest",),
    ),
    "signature of a command": (
        COMMAND.format(name="guest", parameters="x: int | str", act="..."), 4,
        "doesn't support Union types", ("guest", "--x", "3"),
    ),
    "begin of a trace": (
        "@hookimpl\ndef begin_trace(tape):\n    1 / 0", 5, "the hook begin_trace",
        ("summary", "plain.py"),
    ),
    "end of a trace": (
        "@hookimpl\ndef end_trace(tape):\n    1 / 0", 5, "the hook end_trace",
        ("summary", "plain.py"),
    ),
    "begin of a sweep": (
        "@hookimpl\ndef begin_sweep(loss):\n    raise SystemExit", 5, "the hook begin_sweep",
        ("quantities", "plain.py"),
    ),
    "end of a sweep": (
        "@hookimpl(wrapper=True)\ndef end_sweep(results):\n    yield\n    results['none']", 6,
        "the hook end_sweep", ("check", "plain.py"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WHILE_RUNNING)
def test_a_plugin_that_fails_at_its_part(what, install, command, write_file, plain):
    code, line, message, arguments = WHILE_RUNNING[what]
    write_file("sine.py", SINE)
    assert install(code) == ""
    outcome = command(*arguments)
    assert outcome.code == 4, outcome.err
    assert f"plugin 'guest' of distribution '{DISTRIBUTION}'" in outcome.error
    assert message in outcome.error
    assert f"module_of_guest.py:{line})" in outcome.error
    assert "TRACER_DISABLE_PLUGINS=guest" in outcome.hint
    assert "pip uninstall the-guest" in outcome.hint
    assert outcome.out == ""


SINE = """
    import numpy as np, tracer
    w = tracer.parameter(np.ones(3), "w")

    def model(x):
        return np.sin(x * w)

    example_inputs = np.ones((2, 3))
"""


def test_what_a_program_registers_itself_raises_its_own_errors(command, write_file):
    write_file(
        "own.py",
        """
        import numpy as np, tracer
        w = tracer.parameter(np.ones(3), "w")

        class Own(tracer.Quantity):
            name = "own_norm"
            def extract(self, cotangent, context):
                return 1 / 0

        def model(x):
            with tracer.Tape() as tape:
                y = np.sum(tracer.batch(np.ones((2, 3))) * w)
            return tape.backward(y, Own())

        example_inputs = np.ones((2, 3))
        """,
    )
    outcome = command("summary", "own.py")
    assert outcome.code == 1
    assert "failed: ZeroDivisionError" in outcome.error


def test_a_program_that_registers_wrongly_is_not_a_plugin_that_fails(command, write_file):
    write_file("own.py", "import tracer\ntracer.register(tracer.registry.quantities['grad']())")
    outcome = command("summary", "own.py")
    assert outcome.code == 1
    assert "PluginError" in outcome.error
    assert "own.py" in outcome.err


def test_the_help_lists_the_other_commands_of_a_plugin_of_which_one_is_broken(install, command):
    install(
        COMMAND.format(name="guest", parameters="x: int | str", act="...").replace(
            "act)]", "act), Command('fine', lambda: print('fine'), help='Is fine.')]"
        )
    )
    outcome = command("--help")
    assert outcome.code == 0
    assert "Is fine." in outcome.out
    assert "Failed: the command 'guest'" in " ".join(outcome.out.split())
    assert command("fine").out == "fine\n"


def test_a_command_is_a_typer_too(install, command):
    install(
        """
        app = typer.Typer()

        @app.command()
        def hello(name: str):
            print("hello", name)

        @app.command()
        def crash():
            raise KeyError("gone")

        @hookimpl
        def register_commands():
            return [Command("guest", app, help="Several.")]
        """
    )
    assert command("guest", "hello", "ada").out == "hello ada\n"
    assert "Several." in command("--help").out
    assert command("guest", "hello").code == 2
    outcome = command("guest", "crash")
    assert outcome.code == 4
    assert "module_of_guest.py:12" in outcome.error


def test_a_name_that_is_blocked_and_no_plugins(command, monkeypatch, capsys):
    monkeypatch.setenv("TRACER_DISABLE_PLUGINS", "quantites, render, tracer")
    loader = load()
    monkeypatch.setattr(loader, "remarks", [])
    loader._check_blocked(["layers", "quantities", "render"])
    first, second = capsys.readouterr().err.splitlines()
    assert "names 'quantites', and no plugin is called so. Did you mean 'quantities'?" in first
    assert "names 'tracer', which is the core itself" in second
    assert command("plugins").code == 4
    monkeypatch.setenv("TRACER_PLUGINS", "strict")
    with pytest.raises(PluginError, match="quantites"):
        loader._check_blocked(["quantities"])


def test_a_plugin_that_replaces_is_listed_and_gives_back(install, command):
    install(OPERATION.format(replaces=", replaces=np.sin", vjp="return (7 * g,)"))
    sine = registry.operations["sin"]
    assert tracer.grad(lambda x: tracer.value_and_grad(sine)(x)[0])(0.0) == 1
    outcome = command("plugins")
    assert "replaces numpy.sin of tracer" in outcome.out
    document = json.loads(command("plugins", "guest", "--json").out)
    assert document["plugin"]["replaces"] == ["numpy.sin of tracer"]
    assert document["things"] == [
        {
            "kind": "operation", "name": "guest_sine", "place": "module_of_guest.py:4", "doc": "",
            "replaces": "numpy.sin of tracer", "replaced_by": "",
        }
    ]  # fmt: skip
    assert [hook["name"] for hook in document["hooks"]] == ["register_operations"]


def test_everything_of_a_plugin_is_listed(install, command, monkeypatch):
    install(
        '''
        from tracer.extend import settings
        LIMIT = settings("guest", limit=1.5, quiet=False)["limit"]

        class Mine(Quantity):
            """What it is.

            And more.
            """
            name = "guest_norm"

        def act():
            """Act now."""

        @tracer.implements(np.correlate, replaces="numpy.correlate")
        def correlate(a, b):
            """By hand."""

        @hookimpl
        def register_quantities():
            return [Mine]

        @hookimpl
        def register_commands():
            return [Command("guest", act)]

        @hookimpl(tryfirst=True)
        def begin_sweep(tape):
            """Look."""
        '''
    )
    monkeypatch.setenv("TRACER_GUEST_LIMIT", "3")
    document = json.loads(command("plugins", "guest", "--json").out)
    found = [(t["kind"], t["name"], t["place"], t["doc"]) for t in document["things"]]
    assert found == [
        ("quantity", "guest_norm", "module_of_guest.py:7", "What it is."),
        ("command", "guest", "module_of_guest.py:14", "Act now."),
        ("NumPy function", "numpy.correlate", "module_of_guest.py:17", "By hand."),
    ]
    hooks = {hook["name"]: (hook["place"], hook["doc"]) for hook in document["hooks"]}
    assert hooks["begin_sweep"] == ("module_of_guest.py:29", "Look.")
    assert document["settings"] == [
        {"key": "limit", "value": 3.0, "default": 1.5, "source": "TRACER_GUEST_LIMIT"},
        {"key": "quiet", "value": False, "default": False, "source": "default"},
    ]
    shown = command("plugins", "guest")
    assert shown.code == 0
    for text in ("guest_norm", "Act now.", "module_of_guest.py:17", "TRACER_GUEST_LIMIT"):
        assert text in shown.out


def test_of_several_plugins_in_a_package_the_nearest_is_named(monkeypatch):
    for name, module in (("first", "many"), ("second", "many.parts.second"), ("third", "many.c:x")):
        monkeypatch.setitem(blame.PLUGINS, name, blame.Plugin(name, module, DISTRIBUTION, "1.0"))
    found = [blame.of_module(f"many{rest}") for rest in ("", ".parts.second", ".c.rules", ".d")]
    assert found == ["first", "second", "third", "first"]
    assert blame.of_module("manyfold") is None


def test_a_plugin_that_there_is_not(command):
    outcome = command("plugins", "quantites")
    assert outcome.code == 2
    assert "Did you mean 'quantities'?" in outcome.error


def test_doctor_tells_of_an_array_library_that_fails(install, command):
    install(
        """
        class Library(tracer.Backend):
            name = device = "guest"
            def describe(self):
                return 1 / 0

        @hookimpl
        def register_backends():
            return [Library()]
        """
    )
    outcome = command("doctor")
    assert outcome.code == 4
    assert "module_of_guest.py:7" in outcome.error
    assert outcome.error.removeprefix("error: ") in " ".join(outcome.out.split())
    assert command("doctor", "--json").code == 4


def test_the_names_of_built_in_commands_are_known_to_the_core():
    from trace_net.main import app
    from tracer.extensions import BUILT_IN

    assert {info.name for info in app.registered_commands} == set(BUILT_IN)
