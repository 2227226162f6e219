"""Files of ONNX: what is read, and what is refused; made with the package `onnx`."""

import numpy as np
import pytest

import tracer
import tracer_import
import tracer_layers as nn
from tracer_import import ProgramError

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402  # where it is there

RNG = np.random.default_rng(0)
WEIGHT, BIAS = RNG.standard_normal((3, 4)), RNG.standard_normal(3)


def written(path, nodes, initializers, opset=18):
    graph = helper.make_graph(
        nodes,
        "Net",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, ["n", "m"])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def affine(**options):
    return [
        helper.make_node("Gemm", ["x", "head.weight", "head.bias"], ["h"], transB=1, **options),
        helper.make_node("Relu", ["h"], ["y"]),
    ]


def arrays():
    return [
        numpy_helper.from_array(WEIGHT, "head.weight"),
        numpy_helper.from_array(BIAS, "head.bias"),
    ]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.onnx"


def test_initializers_are_parameters_with_structure(path):
    model = tracer_import.load(written(path, affine(), arrays()))
    assert type(model).__name__ == "Net"
    assert {n for n, _ in model.named_parameters()} == {"head.weight", "head.bias"}
    x = RNG.standard_normal((5, 4))
    with tracer.Tape() as tape:
        output = model(x)
        loss = nn.mse_loss(output, np.zeros((5, 3)))
    np.testing.assert_allclose(output.data, np.maximum(x @ WEIGHT.T + BIAS, 0))
    assert "Kronecker" in repr(tape.backward(loss, ("kflr",))["kflr"]["head.weight"])


def refused(path, message):
    with pytest.raises(ProgramError, match=message) as caught:
        tracer_import.load(path)
    assert "\n" not in str(caught.value)


def test_an_older_opset_is_refused(path):
    refused(written(path, affine(), arrays(), opset=11), "opset 11, and 13 or later")


def test_control_flow_is_refused(path):
    result = helper.make_tensor_value_info("z", TensorProto.DOUBLE, ["n", "m"])
    cast = helper.make_node("Cast", ["i"], ["z"], to=TensorProto.DOUBLE)
    inner = helper.make_graph([cast], "then", [], [result])
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    true = numpy_helper.from_array(np.array(True))
    condition = helper.make_node("Constant", [], ["c"], value=true)
    nodes = [condition, helper.make_node("NonZero", ["x"], ["i"]), node]
    refused(
        written(path, nodes, []), r"2 operators .*onnx\.If.*onnx\.NonZero.*onnx\.If is control flow"
    )


def test_missing_operators_are_listed(path):
    nodes = [
        helper.make_node("NonZero", ["x"], ["i"]),
        helper.make_node("Cast", ["i"], ["y"], to=TensorProto.DOUBLE),
    ]
    refused(written(path, nodes, []), r"1 operator that is not there: onnx\.NonZero")


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a/../../b", ""])
def test_arrays_outside_of_the_folder_are_refused(path, location):
    (path.parent.parent / "secret").write_bytes(b"\0" * 1000)
    weight = arrays()[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    refused(written(path, affine(), [weight, arrays()[1]]), "outside of its folder")


def test_arrays_beside_the_file_are_read_as_far_as_they_go(path):
    (path.parent / "weights.bin").write_bytes(WEIGHT.tobytes())
    weight = arrays()[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="weights.bin")
    weight.external_data.add(key="length", value=str(WEIGHT.nbytes))
    model = tracer_import.load(written(path, affine(), [weight, arrays()[1]]))
    np.testing.assert_array_equal(model.head.weight.data, WEIGHT)
    weight.external_data[1].value = str(2 * WEIGHT.nbytes)
    refused(written(path, affine(), [weight, arrays()[1]]), "ends behind the end")


def test_damaged_files_are_refused(path):
    whole = written(path, affine(), arrays()).read_bytes()
    for end in range(0, len(whole) - 1, 37):
        path.write_bytes(whole[:end])
        with pytest.raises(ProgramError):
            tracer_import.load(path)
