"""Archives that are damaged or made to harm: one sentence, nothing executed, nothing unbounded."""

import json
import os
import re
import struct
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

import tracer_import
from tracer.errors import TracerError
from tracer_import import ProgramError

GOOD = Path(__file__).parent / "archives" / "perceptron.pt2"
MODEL = "archive/models/model.json"
WEIGHTS = "archive/data/weights/model_weights_config.json"


def members():
    with zipfile.ZipFile(GOOD) as file:
        return {name: file.read(name) for name in file.namelist()}


def written(path, parts, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in parts.items():
            file.writestr(name, data)
    return path


def changed(path, member, change):
    """The archive with a document changed in place."""
    parts = members()
    name = next(n for n in parts if n.endswith(member.rpartition("/")[2]))
    document = json.loads(parts[name])
    change(document)
    return written(path, {**parts, name: json.dumps(document)})


def refused(path, message=None):
    """That a file is refused in one sentence, with little memory."""
    tracemalloc.start()
    with pytest.raises(ProgramError, match=message) as caught:
        tracer_import.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 600
    return text


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.pt2"


# -- the zip --------------------------------------------------------------------------------------


def test_a_file_that_is_no_zip(path):
    path.write_bytes(b"\x80\x02no zip at all")
    refused(path, "is no whole program of PyTorch's")


def test_every_truncation_is_refused(path):
    whole = GOOD.read_bytes()
    for end in range(0, len(whole) - 1, 997):
        path.write_bytes(whole[:end])
        refused(path)


def test_a_bit_that_is_wrong_is_found_or_does_not_matter(path):
    whole, rng = GOOD.read_bytes(), np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 60):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            tracer_import.load(path)
        except ProgramError:
            continue


def test_a_bomb_is_refused_before_it_is_unpacked(path):
    parts = {**members(), "archive/data/weights/bomb": b"\0" * 10_000_000}
    refused(written(path, parts, zipfile.ZIP_DEFLATED), "is compressed")


@pytest.mark.parametrize("name", ["archive/../../outside", "archive//etc/passwd", "archive/a\\b"])
def test_paths_that_leave_the_archive(path, name):
    refused(written(path, {**members(), name: b""}), "leaves the archive")


def test_two_folders_and_two_members_of_one_name(path):
    refused(written(path, {**members(), "other/file": b""}), "2 folders in place of one")
    file = zipfile.ZipFile(written(path, members()), "a")
    with pytest.warns(UserWarning, match="Duplicate"):
        file.writestr(MODEL, b"{}")
    file.close()
    refused(path, "is there twice")


def test_members_that_lie_over_each_other(path):
    """Both entries of the directory name one place."""
    written(path, {"archive/one": b"1" * 100, "archive/two": b"2" * 100})
    data = bytearray(path.read_bytes())
    second = data.rindex(b"PK\x01\x02")
    data[second + 42 : second + 46] = struct.pack("<I", 0)
    path.write_bytes(data)
    refused(path, "lies over another|is no whole program")


def test_a_size_that_the_file_does_not_have(path):
    written(path, {"archive/one": b"1" * 100})
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 20 : entry + 28] = struct.pack("<II", 1 << 30, 1 << 30)
    path.write_bytes(data)
    refused(path, "would have|is no whole program")


# -- the documents --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe",
        b'{"schema_version": {"major": 8, "minor": 0}}',
        b'{"schema_version": {"major": 1e999, "minor": 0}}',
        b'{"schema_version": ' + b"9" * 10_000 + b"}",
    ],
)
def test_documents_that_say_nothing(path, text):
    refused(written(path, {**members(), MODEL: text}))


def test_another_version_of_the_format(path):
    def change(document):
        document["schema_version"]["major"] = 9

    refused(
        changed(path, MODEL, change), r"version 9\.20 of PyTorch's format, and version 8 is read"
    )


def each_value(document, path=()):
    """All places of a document."""
    yield path
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in items:
        if isinstance(value, dict | list):
            yield from each_value(value, (*path, key))
        else:
            yield (*path, key)


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")  # of an eps below 0
@pytest.mark.parametrize("wrong", [None, -1, 2**70, "text", [], {}, [[]], {"as_int": "x"}])
def test_any_part_that_is_something_else_is_refused_or_does_not_matter(path, wrong):
    parts = members()
    document = json.loads(parts[MODEL])
    places = [p for p in each_value(document) if p]
    rng = np.random.default_rng(1)
    for number in rng.choice(len(places), 40, replace=False):
        *outer, last = places[number]
        spoilt = json.loads(parts[MODEL])
        at = spoilt
        for key in outer:
            at = at[key]
        at[last] = wrong
        written(path, {**parts, MODEL: json.dumps(spoilt)})
        assert outcome(path) == "", (places[number], wrong)


def outcome(path):
    """What went wrong in another way than by an error that says what to do; "" if nothing."""
    try:
        tracer_import.load(path)(np.ones((2, 4)))
    except TracerError:
        return ""
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


# -- the arrays -----------------------------------------------------------------------------------


def meta(document, path="first.weight"):
    return document["config"][path]["tensor_meta"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("sizes", [{"as_int": 2**40}, {"as_int": 4}], "ends at element"),
        ("sizes", [{"as_int": 2**61}] * 2, "ends at element"),
        ("sizes", [{"as_int": -6}, {"as_int": 4}], "negative sizes or strides"),
        ("sizes", [{"as_int": 1}] * 65, "65 sizes and 2 strides"),
        ("sizes", [{"as_int": 2.5}], "sizes that are no numbers"),
        ("sizes", [{"as_expr": {"expr_str": "s0"}}], "KeyError"),
        ("strides", [{"as_int": -4}, {"as_int": 1}], "negative sizes or strides"),
        ("strides", [{"as_int": 2**61}, {"as_int": 1}], "ends at element"),
        ("storage_offset", {"as_int": 1000}, "ends at element"),
        ("storage_offset", {"as_int": -1}, "negative"),
        ("dtype", 29, "dtype number 29"),
        ("dtype", 8.5, None),
        ("layout", 1, "is sparse"),
    ],
)
def test_arrays_that_do_not_lie_in_the_file(path, key, value, message):
    refused(changed(path, WEIGHTS, lambda document: meta(document).update({key: value})), message)


def test_an_array_that_repeats_one_element_often_is_not_made(path):
    def change(document):
        sizes = [{"as_int": 2**20}, {"as_int": 2**20}]
        meta(document).update(sizes=sizes, strides=[{"as_int": 0}, {"as_int": 0}])

    refused(changed(path, WEIGHTS, change), "repeats the elements of its storage too often")


def test_pickles_are_never_read(path):
    def change(document):
        document["config"]["first.weight"]["use_pickle"] = True

    refused(changed(path, WEIGHTS, change), "as a pickle, which is a program and is not run")
    parts = {**members(), "archive/data/sample_inputs/model.pt": b"cos\nsystem\n(S'exit 1'\ntR."}
    tracer_import.load(written(path, parts))


def test_a_member_that_is_missing(path):
    parts = members()
    del parts["archive/data/weights/weight_0"]
    refused(written(path, parts), "it has no 'data/weights/weight_0'")


def test_a_weight_outside_of_the_archive(path):
    def change(document):
        document["config"]["first.weight"]["path_name"] = "../../../../etc/passwd"

    refused(changed(path, WEIGHTS, change), "it has no")


# -- the program ----------------------------------------------------------------------------------


def nodes(document):
    return document["graph_module"]["graph"]["nodes"]


def test_missing_operators_are_listed_at_once_with_counts_and_lines(path):
    def change(document):
        for node in nodes(document):
            if "linear" in node["target"]:
                node["target"] = "torch.ops.mylib.gate.default"
            if "tanh" in node["target"]:
                node["target"] = "torch.ops.other.op.default"

    text = refused(changed(path, MODEL, change), "has 2 operators that are not there")
    assert "mylib.gate.default x 4 (networks.py:" in text
    assert "other.op.default (networks.py:" in text
    assert "register_imports" in text


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("torch.ops.aten.nonzero.default", "depends on values"),
        ("torch.ops.quantized_decomposed.quantize_per_tensor.default", "Quantised weights"),
        ("torch.ops.aten.set_.default", "aten.set"),
        ("os.system", r"os\.system"),
        ("builtins.eval", r"builtins\.eval"),
    ],
)
def test_operators_that_a_program_cannot_have(path, target, message):
    def change(document):
        nodes(document)[0]["target"] = target

    refused(changed(path, MODEL, change), message)


def test_control_flow_is_listed_with_what_else_is_missing(path):
    def change(document):
        for node in nodes(document):
            if "linear" in node["target"]:
                node["target"] = "torch.ops.mylib.gate.default"
        graph = {**document["graph_module"]["graph"], "nodes": []}
        argument = {"name": "", "arg": {"as_graph": {"name": "true_graph_0", "graph": graph}}}
        node = nodes(document)[1]
        node.update(target="torch.ops.higher_order.cond", inputs=[argument])

    text = refused(changed(path, MODEL, change), "has 2 operators that are not there")
    assert re.search(r"higher_order\.cond \(networks\.py:\d+\)", text)
    assert "mylib.gate.default x " in text
    assert "higher_order.cond is control flow" in text
    assert "A plugin adds others by the hook register_imports" in text


def test_a_lower_precision_is_refused_with_what_to_do(path):
    def change(document):
        graph = {**document["graph_module"]["graph"], "nodes": []}
        given = [{"as_string": "cpu"}, {"as_scalar_type": 13}, {"as_bool": True}]
        given.append({"as_graph": {"name": "g", "graph": graph}})
        node = nodes(document)[1]
        inputs = [{"name": "", "arg": each} for each in given]
        node.update(target="torch.ops.higher_order.wrap_with_autocast", inputs=inputs)

    refused(
        changed(path, MODEL, change), r"wrap_with_autocast \(.*export it without torch\.autocast"
    )


def test_graphs_in_graphs_without_end(path):
    def change(document):
        graph = json.loads(json.dumps(document["graph_module"]["graph"]))
        for _ in range(30):
            argument = {"name": "", "arg": {"as_graph": {"name": "g", "graph": graph}}}
            off = {"name": "", "arg": {"as_bool": False}}
            node = {
                "target": "torch.ops.higher_order.wrap_with_set_grad_enabled",
                "inputs": [off, argument],
                "outputs": [],
                "metadata": {},
            }
            graph = {**graph, "nodes": [node], "outputs": []}
        document["graph_module"]["graph"] = graph

    refused(changed(path, MODEL, change), "nested too deeply")


def test_lines_of_files_that_are_no_code_are_not_read(path):
    def change(document):
        for node in nodes(document):
            node["metadata"]["stack_trace"] = 'File "/dev/zero", line 9999999999, in forward'

    model = tracer_import.load(changed(path, MODEL, change))
    assert {node.source.file for node in model.program.nodes if node.source} == {"zero"}


def test_a_pipe_and_a_folder_are_refused_at_once(tmp_path):
    """A pipe would be waited on for ever."""
    os.mkfifo(tmp_path / "pipe.pt2")
    (tmp_path / "folder.pt2").mkdir()
    for name in ("pipe.pt2", "folder.pt2"):
        refused(tmp_path / name, "is no file, but a folder or a pipe")


@pytest.mark.parametrize("name", ["__class__", "__dict__", "forward", "_registered", "a" * 5000])
def test_a_parameter_may_have_any_name_and_harms_nothing(path, name):
    parts = {key: data.replace(b"middle", name.encode()) for key, data in members().items()}
    model = tracer_import.load(written(path, parts))
    assert type(model).__name__ == "Perceptron"
    assert f"{name}.weight" in dict(model.named_parameters())
    assert model(np.ones((2, 4))).shape == (2, 3)


def test_a_source_line_that_is_long_takes_no_time(path):
    def change(document):
        for node in nodes(document):
            node["metadata"]["stack_trace"] = 'File "' * 20_000 + " " * 20_000

    began = time.process_time()
    tracer_import.load(changed(path, MODEL, change))
    assert time.process_time() - began < 5


def test_expressions_of_sizes_are_never_evaluated(path):
    def change(document):
        text = json.dumps(document["graph_module"]["graph"]["tensor_values"])
        text = re.sub(r'"expr_str": "[^"]*"', '"expr_str": "__import__(os).system(1)"', text)
        document["graph_module"]["graph"]["tensor_values"] = json.loads(text)

    model = tracer_import.load(changed(path, MODEL, change))
    assert model(np.ones((2, 4))).shape == (2, 3)


def test_a_file_that_is_not_there_and_a_suffix_that_nobody_reads(tmp_path):
    with pytest.raises(FileNotFoundError):
        tracer_import.load(tmp_path / "missing.pt2")
    with pytest.raises(ProgramError, match=r"has none of the suffixes \.onnx, \.pt2"):
        tracer_import.load(tmp_path / "model.pth")
