"""Files of ONNX: what is read, and what is refused; made with the package `onnx`."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest

import tracer
import tracer_import
import tracer_layers as nn
from tracer.extend import ImportedOperator
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


# -- made to harm ---------------------------------------------------------------------------------


def external(path, **entries):
    """A model whose weight lies in another file, said so by these entries."""
    weight = arrays()[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        weight.external_data.add(key=key, value=str(value))
    return written(path, affine(), [weight, arrays()[1]])


def test_a_link_that_leaves_the_folder_is_refused(path):
    outside = path.parent.parent / "outside"
    outside.write_bytes(WEIGHT.tobytes())
    (path.parent / "weights.bin").symlink_to(outside)
    refused(external(path, location="weights.bin"), "outside of its folder")


def test_arrays_that_are_not_there_are_refused(path):
    refused(external(path, location="weights.bin"), "which is not there: copy the file")
    (path.parent / "folder").mkdir()
    refused(external(path, location="folder"), "which is not there")


@pytest.mark.parametrize("entries", [{}, {"length": 1 << 39}, {"offset": 1 << 39}])
def test_no_more_is_read_than_an_array_has(path, entries):
    """Of a file of a terabyte, which is empty."""
    with open(path.parent / "weights.bin", "wb") as file:
        file.truncate(1 << 40)
    tracemalloc.start()
    refused(external(path, location="weights.bin", **entries), r"\[3, 4\] has 96 bytes, and \d+ of")
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


@pytest.mark.parametrize("entries", [{"offset": -8}, {"length": -8}, {"offset": 8, "length": 96}])
def test_places_that_the_file_does_not_have_are_refused(path, entries):
    (path.parent / "weights.bin").write_bytes(WEIGHT.tobytes())
    refused(external(path, location="weights.bin", **entries), "ends behind the end of")


def calling(path, levels, calls=2):
    """A model of functions, each of which calls the one before it some times."""
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)]
    nodes, functions = [helper.make_node("Relu", ["a"], ["b"])], []
    for level in range(levels):
        name = f"f{level}"
        functions.append(helper.make_function("mine", name, ["a"], ["b"], nodes, opsets))
        chain = ["a", *(f"t{i}" for i in range(calls - 1)), "b"]
        nodes = [
            helper.make_node(name, [one], [other], domain="mine") for one, other in pairwise(chain)
        ]
    call = helper.make_node(f"f{levels - 1}", ["x"], ["y"], domain="mine")
    values = [helper.make_tensor_value_info(n, TensorProto.DOUBLE, ["n", 4]) for n in "xy"]
    graph = helper.make_graph([call], "Net", values[:1], values[1:])
    model = helper.make_model(graph, functions=functions, opset_imports=opsets, ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def test_functions_are_written_out(path):
    model = tracer_import.load(calling(path, levels=4))
    assert [node.target for node in model.program.nodes] == ["onnx.Relu"] * 8
    np.testing.assert_array_equal(model(-np.ones((2, 4))).data, np.zeros((2, 4)))


@pytest.mark.parametrize("levels", [30, 120])
def test_functions_that_call_each_other_without_end_are_refused(path, levels):
    message = r"nodes when its functions are written out, and at most 200,000|exceeds limit"
    refused(calling(path, levels), message)


def test_a_function_that_calls_itself_is_refused(path):
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)]
    again = [helper.make_node("f", ["a"], ["b"], domain="mine")]
    model = onnx.load(calling(path, levels=1))
    del model.functions[:]
    model.functions.append(helper.make_function("mine", "f", ["a"], ["b"], again, opsets))
    model.graph.node[0].op_type = "f"
    path.write_bytes(model.SerializeToString())
    refused(path, "is no whole model of ONNX's")


def test_quantised_weights_are_refused(path):
    scale = numpy_helper.from_array(np.array(0.1), "scale")
    weight = numpy_helper.from_array(np.ones((3, 4), np.int8), "weight")
    nodes = [
        helper.make_node("DequantizeLinear", ["weight", "scale"], ["w"]),
        helper.make_node("Gemm", ["x", "w"], ["y"], transB=1),
    ]
    refused(
        written(path, nodes, [scale, weight], opset=23),
        r"onnx\.DequantizeLinear.*Quantised weights have no derivatives",
    )


def test_operators_of_others_are_listed_and_may_be_registered(path):
    node = helper.make_node("Gate", ["x"], ["y"], domain="com.mine", slope=2.0)
    whole = onnx.load(written(path, [node], []))
    whole.opset_import.append(helper.make_opsetid("com.mine", 1))
    path.write_bytes(whole.SerializeToString())
    refused(path, r"1 operator that is not there: com\.mine\.Gate\. A plugin adds them")
    gate = ImportedOperator("com.mine.Gate", lambda x, slope: x / (1 + np.exp(-slope * x)))
    tracer.register(gate)
    try:
        x = np.ones((2, 4))
        np.testing.assert_allclose(tracer_import.load(path)(x).data, x / (1 + np.exp(-2.0)))
    finally:
        tracer.unregister(gate)


def test_sequences_and_texts_are_refused(path):
    nodes = [
        helper.make_node("SequenceConstruct", ["x"], ["s"]),
        helper.make_node("SequenceAt", ["s", "i"], ["y"]),
    ]
    refused(
        written(path, nodes, [numpy_helper.from_array(np.array(0), "i")]),
        r"2 operators that are not there: onnx\.SequenceAt; onnx\.SequenceConstruct",
    )
    texts = helper.make_tensor("head.weight", TensorProto.STRING, [3, 4], [b"a"] * 12)
    refused(written(path, affine(), [texts, arrays()[1]]), "is no whole model")


@pytest.mark.parametrize("dims", [[2**40, 2**40], [-3, 4], [3, 5]])
def test_sizes_that_the_array_does_not_have_are_refused(path, dims):
    weight = arrays()[0]
    weight.dims[:] = dims
    refused(written(path, affine(), [weight, arrays()[1]]), "is no whole model")


def test_an_empty_file_is_refused(path):
    path.write_bytes(b"")
    refused(path, "does not say of which opset it is")


def test_a_mode_may_be_an_array_and_is_switched(path):
    """A dropout of a file that trains, and one of which the file says nothing."""
    ratio = numpy_helper.from_array(np.array(0.5), "ratio")
    true = numpy_helper.from_array(np.array(True), "true")
    given = {True: ["x", "ratio", "true"], False: ["x"]}
    for training, inputs in given.items():
        nodes = [helper.make_node("Dropout", inputs, ["y"])]
        model = tracer_import.load(written(path, nodes, [ratio, true][: len(inputs) - 1]))
        assert model.training == training
        x = np.ones((50, 4))
        for mode in (True, False):
            model.train(mode)
            kept = model(x).data != 0
            assert bool(kept.all()) != mode
