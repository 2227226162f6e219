"""Plugins of third parties, as distributions in a folder that a subprocess finds."""

import os
import subprocess
import sys
import textwrap
from types import ModuleType

import pytest

from tracer.extend import Overlay, Renderer, defined

GOOD = """
    import numpy as np
    import tracer

    @tracer.operation("good_double")
    class Double(tracer.Elementwise):
        saves = ()

        def forward(x):
            return x * 2

        def vjp(node, g):
            return (g * 2,)

    class GoodNorm(tracer.Quantity):
        name = "good_norm"

        def extract(self, cotangent, context):
            return np.sqrt(cotangent.squared_norms()[0])

    @tracer.hookimpl
    def register_operations():
        return [Double]

    @tracer.hookimpl
    def register_quantities():
        return [GoodNorm]
"""

USE = """
    import numpy as np
    import tracer
    from tracer import plugins

    double = tracer.registry.operations["good_double"]
    with tracer.Tape() as tape:
        w = tracer.parameter(np.array([3.0, 4.0]), name="w")
        loss = np.sum(double(tracer.batch(np.ones((2, 2))) * w))
    print(tape.backward(loss, ("good_norm",))["good_norm"]["w"])
    print(tracer.registry.operations.entry("good_double").plugin)
    print([p.provides for p in plugins.loaded() if p.name == "good"])
"""

STATUS = """
    from tracer import plugins
    for plugin in plugins.loaded():
        print(plugin.name, plugin.status)
"""


@pytest.fixture
def site(tmp_path):
    """A folder of distributions. `site(name, code)` adds one whose plugin has its own name."""

    def add(name, code, plugin=None, version="1.0"):
        module = name.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(code), encoding="utf-8")
        info = tmp_path / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8"
        )
        (info / "entry_points.txt").write_text(
            f"[tracer]\n{plugin or name} = {module}\n", encoding="utf-8"
        )

    add.path = tmp_path
    return add


def run(site, code, **environment):
    """A Python process that finds the distributions of `site`."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("TRACER_")},
            "PYTHONPATH": str(site.path),
            **environment,
        },
    )


def statuses(done):
    return dict(line.split() for line in done.stdout.splitlines())


def test_a_plugin_adds_an_operation_and_a_quantity(site):
    site("good", GOOD)
    done = run(site, USE)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    values, plugin, provides = done.stdout.splitlines()
    assert values == "[2.82842712 2.82842712]"
    assert plugin == "good"
    assert provides == "[{'operation': ['good_double'], 'quantity': ['good_norm']}]"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import not_there_at_all", "ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("raise RuntimeError('at import')", "RuntimeError: at import"),
        ("def (", "SyntaxError"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
    ],
    ids=["ImportError", "RuntimeError", "SyntaxError", "SystemExit"],
)
def test_a_plugin_that_does_not_load_is_reported_and_the_rest_works(site, code, message):
    site("broken-dist", code, plugin="broken")
    site("good", GOOD)
    done = run(site, USE + STATUS)
    assert done.returncode == 0, done.stderr
    assert message in done.stderr
    assert "plugin 'broken' of distribution 'broken-dist' failed" in done.stderr
    assert "pip uninstall broken-dist" in done.stderr
    assert "TRACER_DISABLE_PLUGINS=broken" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "broken failed" in done.stdout
    assert "good loaded" in done.stdout


def test_strict_makes_a_failure_fatal(site):
    site("broken", "import not_there_at_all")
    done = run(site, STATUS, TRACER_PLUGINS="strict")
    assert done.returncode == 1
    assert "PluginError: trace-net: plugin 'broken'" in done.stderr


def test_plugins_are_blocked_by_name(site):
    site("broken", "import not_there_at_all")
    site("good", GOOD)
    done = run(site, STATUS, TRACER_DISABLE_PLUGINS="broken, layers", TRACER_PLUGINS="strict")
    assert done.stderr == ""
    found = statuses(done)
    assert found["broken"] == found["layers"] == "blocked"
    assert found["good"] == found["quantities"] == "loaded"


def test_what_replaces_loads_before_or_after_and_names_that_block_nothing_are_told(site):
    site(
        "alpha",
        QUANTITY.format(name="shared").replace(
            "def extract", "replaces = name\n\n        def extract"
        ),
    )
    site("beta", QUANTITY.format(name="shared"))
    owner = "import tracer; print(tracer.registry.quantities.entry('shared').plugin)"
    done = run(site, owner)
    assert (done.stdout.strip(), done.stderr) == ("alpha", "")
    done = run(site, owner, TRACER_DISABLE_PLUGINS="alpha,bta")
    assert done.stdout.strip() == "beta"
    assert "names 'bta', and no plugin is called so. Did you mean 'beta'?" in done.stderr


def test_a_misspelt_hook_is_suggested(site):
    site(
        "misspelt",
        """
        import tracer

        @tracer.hookimpl
        def register_quantity():
            return []
        """,
    )
    done = run(site, STATUS)
    assert "'register_quantity', which does not exist" in done.stderr
    assert "Did you mean 'register_quantities'?" in done.stderr
    assert statuses(done)["misspelt"] == "failed"


def test_an_optional_hook_of_another_project_is_left_alone(site):
    site(
        "optional",
        """
        import tracer

        @tracer.hookimpl(optionalhook=True)
        def register_of_another_project():
            return []
        """,
    )
    done = run(site, STATUS)
    assert done.stderr == ""
    assert statuses(done)["optional"] == "loaded"


QUANTITY = """
    import tracer

    class Mine(tracer.Quantity):
        name = "{name}"

        def extract(self, cotangent, context):
            return cotangent.total()[0]

    @tracer.hookimpl
    def register_quantities():
        return [Mine]
"""

OPERATION = """
    import tracer

    @tracer.operation("{name}")
    class Mine(tracer.Operation):
        def forward(x):
            return x

        def vjp(node, g):
            return (g,)

    @tracer.hookimpl
    def register_operations():
        return [Mine]
"""


@pytest.mark.parametrize(
    ("code", "name", "kind", "owner"),
    [
        (QUANTITY, "grad", "quantity", "quantities"),
        (OPERATION, "matmul", "operation", "tracer"),
    ],
)
def test_a_name_that_is_taken_names_both_plugins(site, code, name, kind, owner):
    site("usurper", code.format(name=name))
    done = run(site, STATUS)
    assert f"registers the {kind} '{name}', which plugin '{owner}' has registered" in done.stderr
    assert "plugin 'usurper'" in done.stderr
    assert statuses(done)["usurper"] == "failed"
    assert statuses(done)[owner] == "loaded"


def test_of_two_plugins_with_one_name_for_a_thing_the_first_keeps_it(site):
    site("alpha", QUANTITY.format(name="shared"))
    site("beta", QUANTITY.format(name="shared"))
    done = run(site, STATUS)
    assert "'beta'" in done.stderr
    assert "'alpha'" in done.stderr
    found = statuses(done)
    assert (found["alpha"], found["beta"]) == ("loaded", "failed")
    owner = "import tracer; print(tracer.registry.quantities.entry('shared').plugin)"
    assert run(site, owner).stdout.strip() == "alpha"


def test_a_plugin_that_fails_halfway_registers_nothing(site):
    site(
        "half",
        """
        import tracer

        class First(tracer.Quantity):
            name = "half_first"

        class Second(tracer.Quantity):
            name = "grad"

        @tracer.hookimpl
        def register_quantities():
            return [First, Second]
        """,
    )
    done = run(site, "import tracer; print('half_first' in tracer.registry.quantities)")
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("None", None),
        ("[]", None),
        ("'mine'", "hook register_quantities returned 'mine', where a list was expected"),
        ("3", "hook register_quantities returned 3, where a list was expected"),
        ("[object]", "has no `name`"),
        ("[Named, Named]", "registers the quantity 'named' twice"),
    ],
)
def test_what_a_hook_may_return(site, result, message):
    site(
        "returns",
        f"""
        import tracer

        class Named(tracer.Quantity):
            name = "named"

        @tracer.hookimpl
        def register_quantities():
            return {result}
        """,
    )
    done = run(site, STATUS)
    assert statuses(done)["returns"] == ("failed" if message else "loaded")
    assert (message or "") in done.stderr


def test_two_distributions_with_one_plugin_name(site):
    site("first-dist", "", plugin="same")
    site("second-dist", "raise RuntimeError", plugin="same")
    done = run(site, STATUS.replace("plugin.name", "plugin.distribution"))
    assert "'same' is taken by distribution 'first-dist'" in done.stderr
    assert "pip uninstall second-dist" in done.stderr


def test_a_script_registers_its_own_operation():
    import tracer

    @tracer.operation("test_registered_by_hand")
    class ByHand(tracer.Operation):
        def forward(x):
            return x

        def vjp(node, g):
            return (g,)

    try:
        assert tracer.register(ByHand) is ByHand
        assert tracer.registry.operations["test_registered_by_hand"] is ByHand
        assert tracer.registry.operations.entry("test_registered_by_hand").plugin == "user"
    finally:
        tracer.registry.operations.remove("test_registered_by_hand")
    with pytest.raises(tracer.RegistryError, match="test_registered_by_hand"):
        tracer.registry.operations["test_registered_by_hand"]


def test_everything_bundled_comes_from_a_named_plugin():
    from tracer import registry

    owners = {
        target.kind: {target.entry(name).plugin for name in target}
        for target in registry.BY_HOOK.values()
        if len(target)
    }
    assert owners["quantity"] == {"quantities"}
    assert owners["operation"] >= {"tracer", "layers"}


@pytest.mark.slow
def test_a_distribution_installed_and_removed_with_pip(tmp_path):
    """A real wheel, built by hatchling, in an environment of its own."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "trace_net_throwaway.py").write_text(textwrap.dedent(GOOD), encoding="utf-8")
    (source / "pyproject.toml").write_text(
        textwrap.dedent(
            """
            [build-system]
            requires = ["hatchling"]
            build-backend = "hatchling.build"

            [project]
            name = "trace-net-throwaway"
            version = "0.1"

            [project.entry-points.tracer]
            good = "trace_net_throwaway"

            [tool.hatch.build.targets.wheel]
            only-include = ["trace_net_throwaway.py"]
            """
        ),
        encoding="utf-8",
    )
    environment = tmp_path / "environment"
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True, timeout=60
    )
    python = next(environment.glob("*/python"))
    purelib = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    shared = [path for path in sys.path if path.endswith("site-packages")]
    with open(os.path.join(purelib, "shared.pth"), "w", encoding="utf-8") as file:
        file.writelines(f"import site; site.addsitedir({path!r})\n" for path in shared)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "install", "-q", "--no-deps", str(source)],
        check=True,
        timeout=120,
    )

    def ask(code):
        return subprocess.run(
            [python, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60
        )

    done = ask(USE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1] == "good"
    subprocess.run([*pip, "uninstall", "-q", "-y", "trace-net-throwaway"], check=True, timeout=60)
    assert "good" not in statuses(ask(STATUS))


def test_what_modules_define_of_a_kind():
    module = ModuleType("shapes")
    source = """
from tracer.extend import Overlay, Renderer

class Square(Renderer):
    name = "square"

class Unnamed(Renderer):
    pass

class Round(Unnamed):
    name = "round"

class Shade(Overlay):
    name = "shade"

Circle = Round
"""
    exec(source, vars(module))
    other = ModuleType("others")
    other.Square = module.Square  # as what is imported is
    assert defined(Renderer, module, other) == [module.Square, module.Round]
    assert defined(Overlay, module) == [module.Shade]
