"""The command as a process: streams, signals, start-up and completion."""

import os
import signal
import subprocess
import sys
import time

import pytest
from cli_models import PLAIN


def start(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "trace_net", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def test_data_on_stdout_and_messages_on_stderr(write_file):
    target = write_file("net.py", PLAIN + "\n    print('chatter')\n")
    process = start("visualize", target, "-o", "-")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.lstrip().startswith(b"<")
    assert out.rstrip().endswith(b"</svg>")
    assert b"chatter" not in out
    assert b"chatter" in err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
@pytest.mark.parametrize("arguments", [("summary",), ("visualize", "--format", "dot", "-o", "-")])
def test_a_stdout_without_room(write_file, arguments):
    target = write_file("net.py", PLAIN)
    command, *options = arguments
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "trace_net", command, target, *options],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert done.returncode == 2
    assert b"error: cannot write to stdout: No space left on device" in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_a_reader_that_has_seen_enough(write_file):
    process = start("visualize", write_file("net.py", PLAIN), "--format", "dot", "-o", "-")
    process.stdout.close()
    assert process.stderr.read().count(b"error") == 0
    process.stderr.close()
    assert process.wait(timeout=60) in (0, 1)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX terminals")
def test_a_terminal_shows_progress_and_stdout_stays_clean(write_file):
    import pty

    target = write_file("net.py", PLAIN)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "trace_net", "visualize", target, "-o", "-"],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    shown = b""
    with process:
        assert process.stdout.read().rstrip().endswith(b"</svg>")
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # how Linux says that the other end is closed
            assert shown
    os.close(ours)
    assert process.returncode == 0
    assert b"running the model" in shown
    assert "━".encode() in shown


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_an_interrupted_run_ends_with_130_and_leaves_no_file(write_file, folder):
    target = write_file(
        "net.py",
        """
        import pathlib, time
        def model(x):
            pathlib.Path("started").touch()
            time.sleep(60)
        example_inputs = 1.0
        """,
    )
    heeding = signal.signal(signal.SIGINT, signal.default_int_handler)  # as where one can interrupt
    process = start("visualize", target, "-o", "net.svg")
    signal.signal(signal.SIGINT, heeding)
    deadline = time.monotonic() + 30
    while not (folder / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert b"Traceback" not in err
    assert sorted(p.name for p in folder.iterdir()) == ["net.py", "started"]


def test_start_up_imports_nothing_heavy():
    code = (
        "import sys; from trace_net.main import main; main(['doctor']); main(['plugins']);"
        "heavy = {'networkx', 'scipy', 'sklearn', 'cupy', 'graphviz'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert process.returncode == 0, process.stderr


def test_completion_knows_formats_overlays_and_quantities(folder):
    for words, expected in (
        ("trace-net visualize x.py --format s", b"svg"),
        ("trace-net visualize x.py --overlay g", b"grad_norm"),
        ("trace-net quantities x.py --quantity g", b"grad"),
    ):
        environment = {
            **os.environ,
            "_TRACE_NET_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        }
        out, err = start(env=environment).communicate(timeout=60)
        assert expected in out.split(), err


@pytest.fixture
def broken_plugin(folder):
    """An installed distribution whose plugin raises an error on import; gives its environment."""
    info = folder / "site" / "broken_thing-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-thing\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tracer]\nbroken = broken_thing\n")
    (folder / "site" / "broken_thing.py").write_text("raise RuntimeError('out of order')\n")
    path = os.pathsep.join([str(folder / "site"), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path}


def test_a_broken_plugin_is_listed_and_the_rest_still_works(broken_plugin, write_file):
    process = start("plugins", env=broken_plugin)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 4
    assert b"out of order" in out
    assert b"pip uninstall broken-thing" in err
    process = start("summary", write_file("net.py", PLAIN), env=broken_plugin)
    process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.parametrize("command", ["plugins", "summary"])
def test_a_broken_plugin_is_fatal_where_plugins_are_strict(broken_plugin, write_file, command):
    arguments = [write_file("net.py", PLAIN)] if command == "summary" else []
    process = start(command, *arguments, env={**broken_plugin, "TRACER_PLUGINS": "strict"})
    _, err = process.communicate(timeout=60)
    assert process.returncode == 4
    assert err.count(b"error:") == 1
    assert b"broken-thing" in err
    assert b"Traceback" not in err
