"""A program that mpirun starts: the command line."""

import sys

from trace_net.main import main

if __name__ == "__main__":
    sys.exit(main())
