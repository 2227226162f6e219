"""What bad input gets: an exit code, one line that says what happened, and a hint."""

import json
import xml.etree.ElementTree as ElementTree

import pytest
from cli_models import PLAIN


def assert_clear(outcome, code, *words):
    """The exit code, one error line with these words, a hint, and no traceback of ours."""
    assert outcome.code == code, outcome.err
    for word in words:
        assert word in outcome.error
    assert outcome.hint
    assert "Traceback" not in outcome.err
    assert "trace_net/" not in outcome.err
    assert outcome.out == ""


def test_a_missing_file(command):
    assert_clear(command("visualize", "missing.py"), 2, "no file 'missing.py'")


def test_a_syntax_error(command, write_file):
    outcome = command("visualize", write_file("net.py", "x = 1\ndef f(:\n"))
    assert_clear(outcome, 1, "SyntaxError")
    assert 'File "net.py", line 2' in outcome.err


def test_an_error_on_import_shows_the_users_frames(command, write_file):
    outcome = command(
        "summary", write_file("net.py", "def f():\n    raise KeyError('lost')\n\nf()\n")
    )
    assert_clear(outcome, 1, "running net.py failed: KeyError: 'lost'")
    assert 'File "net.py", line 4' in outcome.err
    assert 'File "net.py", line 2, in f' in outcome.err
    assert outcome.err.count("File ") == 2


@pytest.mark.parametrize("call", ["sys.exit()", "sys.exit(0)", "sys.exit('why')", "quit()"])
def test_sys_exit_is_an_error(command, write_file, call):
    outcome = command("quantities", write_file("net.py", f"import sys\n{call}\n"))
    assert_clear(outcome, 1, "called sys.exit")
    assert "__main__" in outcome.hint


def test_no_model(command, write_file):
    outcome = command("visualize", write_file("net.py", "def predict(x): return x\n"))
    assert_clear(outcome, 2, "net.py holds no model")
    assert "predict" in outcome.hint


def test_several_models(command, write_file):
    write_file(
        "net.py",
        """
        class Net:
            def __call__(self, x): return x
            def named_parameters(self): return []
        a, b = Net(), Net()
        """,
    )
    assert_clear(command("visualize", "net.py"), 2, "several models: a, b")


def test_a_bad_literal(command, plain):
    assert_clear(command("visualize", f"{plain}:model(k=x)"), 2, "literals", "got x")


@pytest.mark.parametrize("arguments", [("--format", "gif"), ("-o", "net.gif")])
def test_an_unknown_format(command, plain, arguments):
    assert_clear(command("visualize", plain, *arguments), 2, "no renderer is called 'gif'")


def test_a_misspelt_overlay(command, plain):
    outcome = command("visualize", plain, "--overlay", "grad_nrom")
    assert_clear(outcome, 2, "Did you mean 'grad_norm'?")


def test_a_misspelt_quantity(command, plain):
    assert_clear(command("quantities", plain, "--quantity", "gard"), 2, "Did you mean 'grad'?")


def test_an_unknown_option(command, plain):
    assert_clear(command("visualize", plain, "--dept", "3"), 2, "--dept")


def test_an_unknown_direction(command, plain):
    assert_clear(command("visualize", plain, "--direction", "up"), 2, "up")


def test_no_command_prints_the_help_on_stderr(command):
    outcome = command()
    assert (outcome.code, outcome.out) == (2, "")
    assert "visualize" in outcome.err


@pytest.mark.parametrize("name", ["visualize", "train", "runs", "board"])
def test_the_help_of_a_plugins_command_looks_like_that_of_the_others(command, name):
    out = command(name, "--help").out
    assert out.startswith(f"Usage: trace-net {name} [OPTIONS]")
    assert "--install-completion" not in out


@pytest.mark.parametrize("path", ["no/such/folder/net.svg", "folder.svg", "no_suffix"])
def test_an_unwritable_output_is_refused_before_the_model_runs(command, folder, write_file, path):
    (folder / "folder.svg").mkdir()
    target = write_file("net.py", "raise AssertionError('the model ran')\n")
    before = sorted(folder.rglob("*"))
    outcome = command("visualize", target, "-o", path)
    assert outcome.code == 2
    assert "ran" not in outcome.error
    assert sorted(folder.rglob("*")) == before


def test_both_outputs_on_stdout_are_refused(command, plain):
    assert_clear(command("visualize", plain, "-o", "-", "--json"), 2, "stdout")


FAILING = (
    PLAIN
    + """
    def build_model():
        def forward(x):
            hidden = np.tanh(x @ w)
            return hidden @ w
        return forward
"""
)


def test_a_failing_forward_pass_is_drawn_as_far_as_it_came(command, folder, write_file):
    outcome = command("visualize", write_file("net.py", FAILING), "-o", "net.json")
    assert_clear(outcome, 1, "the forward pass of net.py failed", "matmul")
    assert "net.json" in outcome.hint
    assert "return hidden @ w" in outcome.err
    assert outcome.err.count("File ") == 1
    nodes = json.loads((folder / "net.json").read_text())["nodes"]
    failed = [node for node in nodes if node.get("failed")]
    assert [node["op"] for node in failed] == ["matmul"]
    assert any(node["op"] == "tanh" for node in nodes)


@pytest.mark.parametrize("form", ["svg", "dot", "html", "mermaid"])
def test_a_failing_forward_pass_is_drawn_in_every_format(command, folder, write_file, form):
    outcome = command("visualize", write_file("net.py", FAILING), "--format", form)
    assert outcome.code == 1
    assert (folder / f"net.{form}").stat().st_size


def test_an_error_between_operations_is_the_models_too(command, folder, write_file):
    code = FAILING.replace("return hidden @ w", "raise ValueError('in between')")
    outcome = command("visualize", write_file("net.py", code))
    assert_clear(outcome, 1, "ValueError: in between")
    assert (folder / "net.svg").exists()


def test_a_failing_loss(command, write_file, folder):
    code = PLAIN.replace("(output - y)", "(output - y[:, :2])")
    outcome = command("visualize", write_file("net.py", code))
    assert_clear(outcome, 1, "the loss of net.py failed")
    assert (folder / "net.svg").exists()


def test_a_summary_of_a_failing_model_lists_what_ran(command, write_file):
    outcome = command("summary", write_file("net.py", FAILING), "--json")
    assert outcome.code == 1
    document = json.loads(outcome.out)
    assert document["operations"][-1]["operation"] == "tanh"
    assert "matmul" in document["error"]


def test_a_model_that_returns_no_tensor(command, write_file):
    write_file("net.py", "def model(x): return 3\nexample_inputs = 1.0\n")
    assert command("visualize", "net.py").code == 1
    assert "tracer.parameter" in command("visualize", "net.py").error


def test_nan_is_drawn_and_marked(command, folder, write_file):
    code = PLAIN.replace("np.zeros(3)", "np.array([0.0, np.nan, 1.0])")
    outcome = command(
        "visualize", write_file("net.py", code), "-o", "net.svg", "--overlay", "grad_norm"
    )
    assert outcome.code == 0
    assert "NaN" in (folder / "net.svg").read_text()


HOSTILE = "a\"b'<script>alert(1)</script>\n[red]é\\\x1b[2J"


@pytest.mark.parametrize("form", ["svg", "dot", "html", "json", "mermaid"])
def test_hostile_names_are_escaped(command, folder, write_file, form):
    code = PLAIN.replace('name="w"', f"name={HOSTILE!r}")
    outcome = command("visualize", write_file("net.py", code), "--format", form)
    assert outcome.code == 0, outcome.err
    drawn = (folder / f"net.{form}").read_text(encoding="utf-8")
    if form not in ("json", "dot"):  # in a quoted string of theirs, it is data, not markup
        assert "<script>alert" not in drawn
    if form == "svg":
        ElementTree.fromstring(drawn)
    assert "\x1b" not in drawn


@pytest.mark.parametrize("arguments", [("quantities",), ("summary",), ("check",)])
def test_hostile_names_do_not_reach_the_terminal(command, write_file, arguments):
    code = PLAIN.replace('name="w"', f"name={HOSTILE!r}")
    outcome = command(*arguments, write_file("net.py", code))
    assert outcome.code == 0, outcome.err
    assert "\x1b" not in outcome.out + outcome.err


def test_debug_shows_every_frame(command, write_file):
    write_file("net.py", FAILING)
    for arguments in (("--debug", "visualize", "net.py"), ("visualize", "net.py", "--debug")):
        outcome = command(*arguments)
        assert outcome.code == 1
        assert "Traceback" in outcome.err
