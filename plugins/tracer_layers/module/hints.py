"""Names of `torch.nn` that there are not here, and what to write in their place."""

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
    "xpu": "devices are 'cpu' and 'cuda': use to(device)",
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
