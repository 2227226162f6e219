"""Where to put things: each change that the page shows is one file, and works from there.

The code is copied, the block of the page is put into the file that it names, and a program uses
what is new there by its public name.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import DOCS, ROOT, blocks

PAGE = (DOCS / "how-to" / "where-to-put.md").read_text()
TITLES = re.findall(r'^```py title="(.+)"$', PAGE, re.MULTILINE)
BLOCKS = dict(zip(TITLES, (b for b in blocks(PAGE) if b.language == "py"), strict=True))

#: what uses the new thing of a file; `assert_equal` is NumPy's
USES = {
    "tracer/operations/elliptic.py": """
        from scipy import special
        from tracer import testing

        w = tracer.parameter(np.array([0.2, 0.5]), name="w")
        with tracer.Tape() as tape:
            loss = np.sum(special.ellipk(w)) + np.sum(special.ellipe(w))
        assert [node.op.name for node in tape.recorded()].count("ellipk") == 1
        for name in ("ellipk", "ellipe"):
            assert tracer.registry.operations.entry(name).plugin == "tracer"
            testing.check_operation(tracer.registry.operations[name])
    """,
    "plugins/tracer_layers/activations/layers.py": """
        import tracer_layers as nn

        model = nn.Sequential(nn.Linear(3, 2), nn.Snake(a=2.0)).double()
        with tracer.Tape() as tape:
            loss = nn.mse_loss(model(np.ones((4, 3))), np.zeros((4, 2)))
        assert tape.backward(loss, ("grad", "kfac"))["kfac"]["0.weight"].shape == (2, 3)
        assert "Snake" in nn.__all__
    """,
    "plugins/tracer_quantities/first_order.py": """
        import tracer_quantities
        from tracer import testing

        x, w = np.array([[1.0, -3.0], [2.0, 1.0]]), tracer.parameter(np.ones(2), name="w")
        with tracer.Tape() as tape:
            loss = np.sum(tracer.batch(x) @ w)
        assert_equal(tape.backward(loss, "grad_max")["grad_max"]["w"], [3.0, 2.0])
        assert tracer_quantities.GradMax in tracer_quantities.QUANTITIES
        testing.check_quantity("grad_max", reference=lambda d: abs(d.gradients).reshape(
            len(d.gradients), -1).max(1))
    """,
    "tracer/curvature/rows.py": """
        import tracer_layers as nn

        class Sketch(tracer.Quantity):
            name = "sketch"
            rows = "ggn_sketched"
            lists_samples = False

            def extract(self, cotangent, context):
                return cotangent.total_of_squares()

        model = nn.Linear(3, 1).double()  # one output, so one row: the sketch of it is exact
        with tracer.Tape() as tape:
            loss = nn.mse_loss(model(np.arange(12.0).reshape(4, 3)), np.zeros((4, 1)))
        results = tape.backward(loss, (Sketch(), "diag_ggn_exact"))
        for name, value in results["diag_ggn_exact"].items():
            np.testing.assert_allclose(results["sketch"][name], value)
    """,
    "tracer/arrays/backend_farray.py": """
        import farray

        tracer.plugins.load()
        x = farray.asarray(np.arange(6.0).reshape(2, 3))
        assert tracer.backend.of(x).name == "farray"
        w = tracer.parameter(farray.asarray(np.ones(3)), name="w")
        with tracer.Tape() as tape:
            loss = np.sum(np.tanh(tracer.batch(x) @ w))
        found = tape.backward(loss, ("grad", "batch_l2"))
        assert type(found["grad"]["w"]) is farray.DeviceArray
        assert found["batch_l2"]["w"].shape == (2,)
        assert type(tracer.to_device(np.ones(2), "far")) is farray.DeviceArray
    """,
    "plugins/tracer_render/renderers.py": """
        from pathlib import Path
        from trace_net.main import main

        Path("model.py").write_text(
            "import numpy as np, tracer\\n"
            "w = tracer.parameter(np.ones(3), name='w')\\n"
            "def model(x): return np.tanh(x @ w)\\n"
            "example_inputs = np.ones((2, 3))\\n"
        )
        assert main(["visualize", "model.py:model", "-o", "x.adj", "--direction", "forward"]) == 0
        assert "w -> matvec" in Path("x.adj").read_text()
    """,
}

BEGIN = """
import numpy as np
from numpy.testing import assert_equal
import tracer
assert tracer.__file__.startswith({copy!r}), tracer.__file__
"""


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    """A copy of the code, and of the double of a device as the library `farray`."""
    copy = tmp_path_factory.mktemp("code")
    for folder in ("tracer", "plugins", "cli"):  # with what is compiled of it
        shutil.copytree(ROOT / folder, copy / folder)
    shutil.copy(ROOT / "tests" / "device.py", copy / "farray.py")
    return copy


def test_the_page_shows_a_use_of_each_file():
    assert list(BLOCKS) == list(USES)


@pytest.mark.slow
@pytest.mark.parametrize("file", USES)
def test_a_change_is_one_file_and_works(file, code, tmp_path):
    place = code / file
    before = place.read_text() if place.exists() else None
    text = BLOCKS[file].text
    place.write_text(text if before is None else f"{before}\n\n{text}")
    roots = [code, code / "plugins", code / "cli"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, roots)),
        "TRACER_PLUGINS": "strict",
    }
    lines = USES[file].splitlines()
    program = BEGIN.format(copy=str(code)) + "\n".join(line.removeprefix(" " * 8) for line in lines)
    try:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
    finally:
        if before is None:
            place.unlink()
        else:
            place.write_text(before)
    assert done.returncode == 0, done.stderr


def test_the_files_that_the_page_names_are_there():
    named = set(re.findall(r"`((?:tracer|tests|docs|cli|plugins)/[\w/.]+)`", PAGE)) - set(TITLES)
    assert [name for name in named if not (ROOT / name).exists()] == []
    assert all(Path(title).suffix == ".py" for title in TITLES)
