"""Who imports whom (DESIGN section 2): the core no plugin, plugins not the command line."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGINS = sorted(path.name for path in (ROOT / "plugins").iterdir() if path.is_dir())
NEVER = {"cupy", "torch", "tensorflow", "jax", "matplotlib", "sklearn"}
#: what a part is for, and imports where it is called
NEEDED = {"tracer_experiments/plots/": "matplotlib", "tracer_import/loading.py": "torch"}


def imported(path):
    """The top-level packages that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.partition(".")[0]


def imports_of(package):
    return {
        name: sorted(path.relative_to(ROOT).as_posix() for path in sources)
        for path in [ROOT / package]
        for sources in [[p for p in path.rglob("*.py") if "plugin_template" not in p.parts]]
        for name in {name for source in sources for name in imported(source)}
    }


def test_there_is_something_to_check():
    assert {"tracer_layers", "tracer_quantities", "tracer_render"} <= set(PLUGINS)
    assert "numpy" in imports_of("tracer")


def test_the_core_imports_no_plugin_and_not_the_command_line():
    assert not imports_of("tracer").keys() & {*PLUGINS, "trace_net"}


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_plugin_imports_the_core_and_says_which_other_plugin_it_needs(plugin):
    others = imports_of(f"plugins/{plugin}").keys() & {*PLUGINS, "trace_net"} - {plugin}
    documentation = (ROOT / "plugins" / plugin / "__init__.py").read_text(encoding="utf-8")
    said = ast.get_docstring(ast.parse(documentation)) or ""
    assert "trace_net" not in others
    assert all(other in said for other in others), f"{plugin} needs {others} and does not say so"


def test_the_command_line_reaches_plugins_through_hooks():
    assert not imports_of("cli/trace_net").keys() & set(PLUGINS)


@pytest.mark.parametrize("package", ["tracer", *(f"plugins/{p}" for p in PLUGINS)])
def test_no_package_imports_another_array_library_or_framework(package):
    for path in (ROOT / package).rglob("*.py"):
        needed = {name for part, name in NEEDED.items() if part in path.as_posix()}
        assert not set(imported(path)) & (NEVER - needed), path


def test_what_draws_figures_loads_matplotlib_when_it_draws():
    code = (
        "import sys\n"
        "from tracer_experiments.commands import runs\n"
        "from tracer_experiments.plots import cockpit, curves, files\n"
        "print('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_importing_the_core_loads_no_plugin():
    code = (
        "import sys, tracer\n"
        f"heavy = {sorted({*PLUGINS, 'trace_net', 'typer', 'graphviz', 'scipy', *NEVER})!r}\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_core_is_there_with_the_oldest_numpy_and_without_what_numpy_is_about_to_remove():
    newer = ("unstack", "cumulative_sum", "cumulative_prod", "matvec", "vecmat")  # than NumPy 2.0
    code = (
        "import numpy as np\n"
        f"for name in {(*newer, 'fix')!r}:\n"
        "    vars(np).pop(name, None)\n"
        "import tracer\n"
        "print(tracer.grad(lambda x: np.sum(np.trunc(x) * x))(np.full(2, 1.5)))"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[1. 1.]"


def test_a_constant_made_first_of_all_finds_every_operation():
    code = (
        "import numpy as np, tracer\n"
        "t = tracer.Tensor(np.zeros(2))\n"
        "print(np.sin(t).data, np.concatenate([t, t]).data, np.exp(t, dtype=float).data)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[0. 0.] [0. 0. 0. 0.] [1. 1.]"
