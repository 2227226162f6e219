"""TARGET: what is parsed, what is found in a file, and what is refused."""

import sys

import numpy as np
import pytest

from trace_net.errors import ModelError, UsageError
from trace_net.target import load, parse_target


def test_a_file_alone(write_file):
    target = parse_target(write_file("net.py", ""))
    assert (target.attribute, target.called, target.stem) == ("", False, "net")


def test_a_factory_with_literals(write_file):
    write_file("net.py", "")
    target = parse_target("net.py:zoo.mlp(8, name='a:b', sizes=[1, -2], flag=True)")
    assert target.attribute == "zoo.mlp"
    assert target.called
    assert target.arguments == (8,)
    assert target.keywords == {"name": "a:b", "sizes": [1, -2], "flag": True}


def test_a_module_with_an_attribute():
    target = parse_target("package.module:net")
    assert (target.module, target.attribute, target.stem) == ("package.module", "net", "module")


@pytest.mark.parametrize(
    "expression",
    [
        "net(open('x'))",
        "net(k=__import__('os'))",
        "net(1 + x)",
        "net(**{'a': 1})",
        "net(",
        "",
        "1",
        "net()()",
        "net[0]",
        "a; b",
    ],
)
def test_what_is_no_name_or_no_literal_is_refused(write_file, expression):
    write_file("net.py", "")
    with pytest.raises(UsageError, match="in TARGET"):
        parse_target(f"net.py:{expression}")


@pytest.mark.parametrize("text", ["net", "net.txt", "a b:c", ":x", "", "."])
def test_other_forms_are_refused(text):
    with pytest.raises(UsageError) as raised:
        parse_target(text)
    assert "pkg.module:attr" in raised.value.hint


def test_a_missing_file_suggests_its_neighbour(write_file):
    write_file("network.py", "")
    with pytest.raises(UsageError) as raised:
        parse_target("netwrok.py")
    assert "network.py" in raised.value.hint


def subject(text, given=None):
    return load(parse_target(text), given or {})


def test_build_model_comes_before_model(write_file):
    write_file(
        "net.py",
        """
        def model(x): return "model"
        def build_model(): return lambda x: "built"
        example_inputs = ()
        """,
    )
    found = subject("net.py")
    assert found.model(0) == "built"
    assert found.choices["model"] == "build_model()"


def test_an_attribute_is_the_model_and_a_call_makes_one(write_file):
    write_file(
        "net.py",
        """
        class zoo:
            def double(x): return 2 * x
            def scale(k, by=1): return lambda x: k * by * x
        example_inputs = 1.0
        """,
    )
    assert subject("net.py:zoo.double").model(3) == 6
    assert subject("net.py:zoo.scale(5, by=2)").model(3) == 30


@pytest.mark.parametrize(
    ("code", "positional", "keywords"),
    [
        ("example_inputs = 1.5", (1.5,), {}),
        ("example_inputs = (1, 2)", (1, 2), {}),
        ("def example_inputs(): return [1, 2]", (1, 2), {}),
        ("def example_inputs(): return {'x': 1}", (), {"x": 1}),
    ],
)
def test_forms_of_example_inputs(write_file, code, positional, keywords):
    write_file("net.py", f"def model(x, y=0): return x\n{code}\n")
    found = subject("net.py")
    assert (found.inputs.positional, found.inputs.keywords) == (positional, keywords)


def test_given_inputs_replace_the_example(write_file):
    write_file("net.py", "def model(x, *, y): return x\nexample_inputs = 1.5\n")
    found = subject("net.py", {"anything": np.ones(1), "y": np.zeros(2)})
    assert found.inputs.positional == (np.ones(1),)
    assert list(found.inputs.keywords) == ["y"]


def test_loss_and_targets(write_file):
    write_file(
        "net.py",
        """
        def model(x): return x
        def loss(output, a, b): return 0
        def targets(): return (1, 2)
        example_inputs = 1.5
        """,
    )
    found = subject("net.py")
    assert found.loss is not None
    assert found.targets.positional == (1, 2)


def test_a_module_in_the_current_folder(write_file):
    write_file("package_of_test/__init__.py", "")
    write_file("package_of_test/net.py", "def net(x): return x\nexample_inputs = 1.5\n")
    assert subject("package_of_test.net:net").model(1) == 1


def test_a_file_may_import_its_neighbour_and_is_not_main(write_file):
    write_file("sub/neighbour_of_test.py", "def model(x): return x\n")
    write_file(
        "sub/net.py",
        """
        from dataclasses import dataclass
        from neighbour_of_test import model
        example_inputs = 1.5
        assert __name__ != "__main__"
        @dataclass
        class Config:
            width: "int" = 3
        """,
    )
    assert subject("sub/net.py").model(1) == 1


def test_a_file_that_reads_arguments_finds_none(write_file):
    write_file(
        "net.py",
        """
        import argparse
        parser = argparse.ArgumentParser()
        parser.add_argument("--width", type=int, default=3)
        width = parser.parse_args().width
        def model(x): return width * x
        example_inputs = 1.5
        """,
    )
    assert subject("net.py").model(2) == 6


REFUSED = {
    "no model": ("x = 1", "holds no model"),
    "several models": (
        """
        class Net:
            def __call__(self, x): return x
            def named_parameters(self): return []
        first, second = Net(), Net()
        """,
        "holds several models: first, second",
    ),
    "not callable": ("model = 3", "is of type int, not a model"),
    "a class": ("class model: pass", "is the class model, not a model"),
    "no inputs": ("def model(x): return x", "has no `example_inputs`"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_without_what_is_needed(write_file, case):
    code, message = REFUSED[case]
    write_file("net.py", code)
    with pytest.raises(UsageError, match=message) as raised:
        subject("net.py")
    assert raised.value.hint


def test_the_only_model_in_a_file_is_taken(write_file):
    write_file(
        "net.py",
        """
        class Net:
            def __call__(self, x): return x
            def named_parameters(self): return []
        first = alias = Net()
        example_inputs = 1.5
        """,
    )
    assert subject("net.py").choices["model"] == "first"


def test_a_function_that_takes_nothing_is_called_for_the_model(write_file):
    write_file("net.py", "def make(): return abs\nexample_inputs = 1.5")
    loaded = subject("net.py:make")
    assert loaded.model is abs
    assert loaded.choices["model"] == "make()"


def test_a_class_without_parentheses_is_explained(write_file):
    write_file("net.py", "class Net:\n    def __call__(self, x): return x\nexample_inputs = 1.5")
    with pytest.raises(UsageError, match="the class Net, not a model") as raised:
        subject("net.py:Net")
    assert "parentheses" in raised.value.hint


def test_a_module_of_pytorch_is_told_the_way(write_file, monkeypatch):
    write_file(
        "net.py",
        """
        class Module:
            __module__ = "torch.nn.modules.module"
            def __call__(self, x): return x
        model, example_inputs = Module(), 1.5
        """,
    )
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch", None)
        with pytest.raises(ModelError, match=r"expects PyTorch to be installed.*export the model"):
            subject("net.py")
    write_file("other.py", "import torch.not_there")
    with pytest.raises(ModelError, match="No module named 'torch") as failed:
        subject("other.py")
    assert "tracer_layers" in failed.value.hint


def test_a_relative_import_is_told_the_way(write_file):
    write_file("package/__init__.py", "")
    write_file("package/inner/__init__.py", "")
    write_file("package/inner/net.py", "from .helper import model")
    with pytest.raises(ModelError, match="relative import") as failed:
        subject("package/inner/net.py")
    assert "package.inner.net:NAME" in failed.value.hint


def test_an_input_that_the_model_does_not_take(write_file):
    write_file("net.py", "def model(image, mask): return image")
    given = {"imgae": np.ones(2)}
    with pytest.raises(UsageError, match=r"takes image, mask\. Did you mean 'image'"):
        load(parse_target("net.py"), given)


def test_an_unknown_attribute_suggests_a_known_one(write_file):
    write_file("net.py", "def encoder(x): return x\n")
    with pytest.raises(UsageError, match="Did you mean 'encoder'"):
        subject("net.py:encodr")


def test_an_unknown_module_is_a_usage_error():
    with pytest.raises(UsageError, match="no module 'no_such_module_here'"):
        subject("no_such_module_here:net")


PROBLEM = """
    class Problem:
        def __init__(self, width):
            self.model = lambda x: x * width
        def loss(self, output, target): return (output - target).sum()
        def example_inputs(self): return ([1.0],)
        def targets(self): return ([2.0],)
    def problem(width=3): return Problem(width)
    made = problem(5)
"""


@pytest.mark.parametrize(
    ("expression", "width"), [("problem", 3), ("problem(7)", 7), ("problem()", 3), ("made", 5)]
)
def test_an_object_with_a_model_defines_the_rest(write_file, expression, width):
    write_file("net.py", PROBLEM)
    found = subject(f"net.py:{expression}")
    assert found.model(2) == 2 * width
    assert found.inputs.positional == ([1.0],)
    assert found.targets.positional == ([2.0],)
    assert found.choices["loss"] == "loss"
    assert found.choices["model"].endswith(".model")


def test_a_function_that_needs_nothing_is_a_model_where_inputs_are_there(write_file):
    write_file("net.py", "def net(x=1): return x\nexample_inputs = [2]")
    assert subject("net.py:net").model(5) == 5
    write_file("other.py", "def net(x=1): return x")
    assert subject("other.py:net", {"x": np.ones(2)}).model(5) == 5


def test_the_object_that_holds_a_model_lacks_inputs(write_file):
    write_file(
        "net.py",
        """
        class Problem:
            model = staticmethod(lambda x: x)
        problem = Problem()
        """,
    )
    with pytest.raises(UsageError, match="no `example_inputs`"):
        subject("net.py:problem")
