"""Imported programs that are folded: a `.pt2` of the tests of the import, and a small `.onnx`."""

from pathlib import Path

import folds
import numpy as np

import tracer_import

PT2 = Path(__file__).parents[1] / "tracer_import" / "archives" / "perceptron.pt2"
NAMES = ("grad", "variance", "kflr", "diag_ggn_exact", "ggn")


def opened(path):
    return tracer_import.load(path).eval()


def shards():
    ends = (6, 7, 15, folds.SAMPLES)
    return folds.Slow(folds.X.astype(np.float32), folds.LABELS, ends).shards


def write_onnx(path):
    """A linear map, a hyperbolic tangent and another linear map."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    arrays = {
        "first.weight": rng.standard_normal((5, 4)),
        "first.bias": rng.standard_normal(5),
        "last.weight": rng.standard_normal((3, 5)),
        "last.bias": rng.standard_normal(3),
    }
    nodes = [
        helper.make_node("Gemm", ["x", "first.weight", "first.bias"], ["h"], transB=1),
        helper.make_node("Tanh", ["h"], ["t"]),
        helper.make_node("Gemm", ["t", "last.weight", "last.bias"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "Net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(a.astype(np.float32), name) for name, a in arrays.items()],
    )
    opset = helper.make_opsetid("", 18)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=9)
    Path(path).write_bytes(model.SerializeToString())
    return path
