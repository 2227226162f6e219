"""The course as a student has it: each notebook runs, and then what it says to type in a terminal.

    trace-net course DIR
    python tests/docs/play_course.py DIR [SECONDS]

Says the time of each chapter, on the clock and of processors. Fails if a chapter does, or if all of
them take more than so many seconds of processors (150): the clock depends on who else is at work on
the machine. Needs `pip install 'trace-net[notebook]'`.
"""

import json
import re
import resource
import shlex
import subprocess
import sys
import time
from pathlib import Path

import nbclient
import nbformat

LIMIT = 150
#: seconds after which a cell hangs
HANGS = 600
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: what stays until it is ended, and what is of the course itself
LEFT_OUT = ("board", "course")


def commands(notebook):
    """What a notebook says to type: the arguments of each `trace-net`."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    for cell in cells:
        for block in CONSOLE.findall("".join(cell["source"])):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line.removeprefix("$ "), comments=True)
                if words[0] == "trace-net" and words[1] not in LEFT_OUT:
                    yield words[1:]


def play(notebook):
    """Run a notebook in its folder, then its commands."""
    folder = notebook.parent
    document = nbformat.read(notebook, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(
        document, timeout=HANGS, kernel_name="python3", resources=resources
    ).execute()
    for words in commands(notebook):
        print(" ", "trace-net", *words, flush=True)
        command = [sys.executable, "-m", "trace_net", *words]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)


def spent():
    """Seconds of processors by what has ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(folder, limit=LIMIT):
    notebooks = sorted(Path(folder).resolve().glob("*.ipynb"))
    if not notebooks:
        return f"no notebooks in {folder}: trace-net course {folder} writes them"
    began = time.monotonic()
    for notebook in notebooks:
        wall, processor = time.monotonic(), spent()
        play(notebook)
        wall, processor = time.monotonic() - wall, spent() - processor
        print(f"{notebook.stem:16} {wall:5.0f} s, {processor:5.0f} s of processors", flush=True)
    print(f"{'all':16} {time.monotonic() - began:5.0f} s, {spent():5.0f} s of processors")
    return 0 if spent() <= limit else f"more than {limit:.0f} s of processors"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(float, sys.argv[2:])))
