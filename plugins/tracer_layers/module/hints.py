"""Names of `torch.nn`, Keras and scikit-learn that are not here, and what to write for them."""

from __future__ import annotations

from collections.abc import Iterable

from tracer.extend import missing

_COTANGENTS = (
    "record with tracer.Tape(cotangents=True), and read tape.cotangents[output] after the sweep"
)

#: attribute of a module -> what to write
MODULE = {
    "zero_grad": "Tape.backward returns gradients and stores none: leave the call out",
    "grad": "Tape.backward returns gradients and stores none: results['grad'][name]",
    "backward": "write tape.backward(loss)",
    "bfloat16": "NumPy has no bfloat16: use half() or float()",
    "type": "use to(dtype)",
    "to_empty": "use to(device)",
    **dict.fromkeys(("xpu", "ipu", "mtia"), "devices are 'cpu' and 'cuda': use to(device)"),
    "call_super_init": "constructors need not call that of Module: leave it out",
    "dump_patches": "a state is names and arrays alone: leave it out",
    "device": "each array has its own: next(model.parameters()).data",
    "dtype": "each parameter has its own: next(model.parameters()).dtype",
    "compile": "there is nothing to compile: leave the call out",
    "share_memory": "pickle the module, or send its state_dict()",
    "parameters_to_vector": "tracer_layers.utils.parameters_to_vector(model.parameters())",
    "register_backward_hook": _COTANGENTS,
    "register_full_backward_hook": _COTANGENTS,
    "register_full_backward_pre_hook": _COTANGENTS,
    "register_load_state_dict_pre_hook": "change the mapping before load_state_dict",
    "register_state_dict_pre_hook": "call what comes before state_dict yourself",
    "fit": "tracer_training.fit(model, loss, train, test, optimizer=optimizer, epochs=10) does it",
    "partial_fit": "tracer_training.fit(model, loss, train, optimizer=optimizer, epochs=1) does it",
    "train_on_batch": "record the loss, and write optimizer.step(tape.backward(loss))",
    **dict.fromkeys(
        ("evaluate", "score", "test_on_batch"),
        "tracer_training.evaluate(model, loss, data) gives the loss and the accuracy",
    ),
    "predict": "call the model: model(x) has a score for each class, model(x).argmax(axis=1) the "
    "classes",
    "predict_on_batch": "call the model: model(x)",
    "predict_proba": "write softmax(model(x), 1) of tracer_layers",
    "predict_log_proba": "write log_softmax(model(x), 1) of tracer_layers",
    "summary": "print(model) lists the layers, model.draw(x) draws them, and the command "
    "`trace-net summary` counts",
    "count_params": "write sum(p.size for p in model.parameters())",
    "layers": "model.children() are the layers, and model[0] is the first of a Sequential",
    "get_layer": "write model.get_submodule(name)",
    **dict.fromkeys(
        ("trainable_weights", "trainable_variables", "get_weights"),
        "model.parameters() are the parameters, and model.state_dict() the arrays by name",
    ),
    **dict.fromkeys(
        ("coefs_", "intercepts_", "coef_", "intercept_"),
        "model.state_dict() has the arrays by name",
    ),
    "set_weights": "write model.load_state_dict(arrays)",
    "load_weights": "write model.load(path)",
    "save_weights": "write model.save(path)",
    "add": "write append(layer), of a Sequential",
    "optimizer": "an optimizer is made of model.parameters(), and is not the model's",
    "loss": "a loss is a function beside the model, as cross_entropy(model(x), y)",
    "get_extra_state": "register_buffer(name, array) adds to the state",
    "set_extra_state": "register_buffer(name, array) adds to the state",
}

#: name of torch.nn.functional -> what to write
FUNCTIONAL = {
    "flatten": "write Flatten()(x), or x.reshape(len(x), -1)",
    "grouped_mm": "write np.matmul of stacked matrices, or of each group",
    **dict.fromkeys(
        ("scaled_mm", "scaled_grouped_mm"), "there are no floats of 8 bits: write np.matmul"
    ),
}

#: name of torch.nn.init -> what to write
INIT = {
    name: f"write {name}_(tensor, ...), which it is called now"
    for name in (
        "constant dirac eye kaiming_normal kaiming_uniform normal orthogonal sparse uniform "
        "xavier_normal xavier_uniform"
    ).split()
}

#: name of torch.nn.utils -> what to write
UTILS = {
    "prune": "multiply by a mask: parametrize.register_parametrization(layer, 'weight', module)",
    "stateless": "write tracer.grad, or tracer.vjp, of a function of the parameters",
    "skip_init": "initial values take little time: write the class itself",
    **dict.fromkeys(
        ("convert_conv2d_weight_memory_format", "convert_conv3d_weight_memory_format"),
        "arrays keep the order of their axes in memory: leave the call out",
    ),
}

#: name of torch.nn (or of what stands beside it), or a layer of Keras -> what to write
LAYERS = {
    "parameter": "write tracer.parameter(array)",
    "Tensor": "write tracer.Tensor",
    "optim": "optimisers are in tracer_training, as tracer_training.AdamW(model.parameters())",
    "modules": "the classes are in tracer_layers itself",
    "parallel": "there is no such wrapper: call the model",
    "DataParallel": "there is no such wrapper: call the model",
    "SyncBatchNorm": "write BatchNorm2d",
    "NLLLoss2d": "write NLLLoss",
    "Container": "write Module",
    "LinearCrossEntropyOptions": "give Tape.backward a memory_budget",
    **dict.fromkeys(
        ("UninitializedParameter", "UninitializedBuffer"),
        "write a layer such as LazyLinear, which has its arrays from the first call on",
    ),
    "CrossMapLRN2d": "write LocalResponseNorm",
    "RNNBase": "write RNN, LSTM or GRU",
    "RNNCellBase": "write RNNCell, LSTMCell or GRUCell, or any module in Recurrent",
    "Dense": "write Linear(inputs, outputs), and a layer such as ReLU() for its activation",
    "Activation": "write the layer, as ReLU() or Tanh()",
    **dict.fromkeys(
        ("Input", "InputLayer"), "leave it out: the first layer is told the number of its inputs"
    ),
    **{f"Conv{n}D": f"write Conv{n}d(inputs, outputs, size)" for n in (1, 2, 3)},
    **{f"MaxPooling{n}D": f"write MaxPool{n}d(size)" for n in (1, 2, 3)},
    **{f"AveragePooling{n}D": f"write AvgPool{n}d(size)" for n in (1, 2, 3)},
    **{f"GlobalMaxPooling{n}D": f"write AdaptiveMaxPool{n}d(1)" for n in (1, 2, 3)},
    **{f"GlobalAveragePooling{n}D": f"write AdaptiveAvgPool{n}d(1)" for n in (1, 2, 3)},
    "BatchNormalization": "write BatchNorm1d(features), or BatchNorm2d(channels) of images",
    "LayerNormalization": "write LayerNorm(features)",
    **FUNCTIONAL,
}


def no_module(value: object) -> str | None:
    """What a value is, and what to write, where a module is expected and another thing is given."""
    if isinstance(value, type):
        return f"the class {value.__name__}: write {value.__name__}(), with its arguments"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__}: give the modules one by one, as Sequential(*modules)"
    if callable(value):
        name = getattr(value, "__name__", type(value).__name__)
        return f"the function {name}: write a layer, as Tanh(), or a Module whose forward calls it"
    return None


def no_layer(name: str, known: Iterable[str]) -> AttributeError:
    """The error for a name that `tracer_layers` does not have."""
    return missing("module 'tracer_layers'", name, LAYERS.get(name), known)


def no_function(name: str, known: Iterable[str]) -> AttributeError:
    """The error for a name that `tracer_layers.functional` does not have."""
    return missing("module 'tracer_layers.functional'", name, FUNCTIONAL.get(name), known)


def no_init(name: str, known: Iterable[str]) -> AttributeError:
    """The error for a name that `tracer_layers.init` does not have."""
    return missing("module 'tracer_layers.init'", name, INIT.get(name), known)


def no_util(name: str, known: Iterable[str]) -> AttributeError:
    """The error for a name that `tracer_layers.utils` does not have."""
    return missing("module 'tracer_layers.utils'", name, UTILS.get(name), known)
