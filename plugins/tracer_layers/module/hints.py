"""Names of `torch.nn` that are not here, and what to write in their place."""

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

#: name of torch.nn (or of what stands beside it) -> what to write
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
    **FUNCTIONAL,
}


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
