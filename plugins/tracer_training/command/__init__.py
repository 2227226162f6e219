"""`trace-net train TARGET`."""

from tracer_training.command.train import train

__all__ = ["train"]
