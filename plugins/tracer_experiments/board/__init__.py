"""The board: a live page of a database of runs, and the same page as one file."""

from tracer_experiments.board.export import report
from tracer_experiments.board.server import Board

__all__ = ["Board", "report"]
