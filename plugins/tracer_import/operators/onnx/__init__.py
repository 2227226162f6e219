"""Operators of ONNX."""

from tracer_import.operators.onnx import arithmetic, recurrent, shapes, windows

__all__ = ["arithmetic", "recurrent", "shapes", "windows"]
