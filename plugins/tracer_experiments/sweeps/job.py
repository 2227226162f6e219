"""`python -m tracer_experiments.sweeps.job ARGUMENTS`: `trace-net` as a process of a sweep.

Its standard input is a pipe that nobody writes to: where it ends, the sweep has ended, be it killed
or interrupted, and this process is interrupted, too.
"""

from __future__ import annotations

import _thread
import os
import runpy
import sys
import threading
import time

#: seconds from the interruption on in which the run is written
GRACE = 5.0
INTERRUPTED = 130


def follow(descriptor: int) -> None:
    """Wait for the end of a pipe, and interrupt this process then."""
    while os.read(descriptor, 1):
        pass
    _thread.interrupt_main()
    time.sleep(GRACE)
    os._exit(INTERRUPTED)


def main() -> None:
    """Run the command with what follows on the command line."""
    pipe = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # a file that asks something is told that there is nobody
    os.close(nothing)
    threading.Thread(target=follow, args=(pipe,), name="follow", daemon=True).start()
    sys.argv[0] = "trace-net"
    runpy.run_module("trace_net", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
