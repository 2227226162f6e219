"""The page of PyTorch's names: which are here, how some depart, and why others are absent.

`python docs/torch_table.py` writes `docs/reference/torch.md` from `docs/torch_names.json`, from
what this project has, and from its errors for names that it does not have. Tests hold the page to
it, and compare arguments, defaults and results with PyTorch's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import tracer_layers
import tracer_training
from tracer_layers.module import hints

DOCS = Path(__file__).resolve().parent
PAGE = DOCS / "reference" / "torch.md"
NAMES = json.loads((DOCS / "torch_names.json").read_text(encoding="utf-8"))

PRESENT, DEPARTS, ABSENT = "yes", "departs", "no"

HEAD = """\
# Names of PyTorch

Every public name of `torch.nn`, `torch.nn.functional`, `torch.nn.init`, `torch.nn.utils` and
`torch.optim`, as of PyTorch {version}: whether it is here, how it departs, and what to write where
it is absent. `torch.nn` is `tracer_layers`, `torch.optim` is `tracer_training`.

What is here has PyTorch's arguments, defaults and results, which tests compare. Some things hold
everywhere, and are not said again in the tables:

- `device` is `"cpu"` or `"cuda"`, dtypes are NumPy's, and random numbers are those of
  [`tracer.seed`](layers.md), or of a generator of NumPy's.
- Gradients are what `Tape.backward` returns: optimisers are given them, `optimizer.step(results)`.
- With `inplace=True` a tensor moves on to the result, so that all its names see it. Its memory is
  not written into, and where a part of it is in use that is an error. Functions of `torch.nn.init`
  give a parameter new memory.
- Arguments that PyTorch has deprecated (`size_average`, `reduce`) keep their places, and are
  refused.

{counts}

Made by `python docs/torch_table.py`.
"""

#: namespace -> what has its names here
OURS = {
    "torch.nn": tracer_layers,
    "torch.nn.Module": tracer_layers.Module,
    "torch.nn.functional": tracer_layers.functional,
    "torch.nn.init": tracer_layers.init,
    "torch.nn.utils": tracer_layers.utils,
    "torch.optim": tracer_training,
    "torch.optim.lr_scheduler": tracer_training,
    "torch.optim.swa_utils": tracer_training,
}

_STATISTICS = "in training without running statistics, which the layers keep"
_TABLE = (
    "`sparse` makes no difference, and `scale_grad_by_freq`, which is no derivative, is refused"
)
_LAZY = "has no parameters before its first call, or a state: asking for them is an error"
_RESULTS = "takes the results of a sweep in place of parameters"
_ALL_HIDDEN = "a query whose keys are all hidden is an error, and not NaN"
_DIM = "`dim=None`, which PyTorch guesses, is refused"

#: name with its namespace -> how it departs
DEPARTURES = {
    "torch.nn.Hardtanh": "`min_value` and `max_value`, deprecated, are refused",
    "torch.nn.functional.batch_norm": _STATISTICS,
    "torch.nn.functional.instance_norm": _STATISTICS,
    **{f"torch.nn.functional.{name}": _DIM for name in ("softmax", "log_softmax", "softmin")},
    **{f"torch.nn.{name}": _DIM for name in ("Softmax", "LogSoftmax", "Softmin")},
    "torch.nn.functional.normalize": "`out` is refused",
    "torch.nn.functional.embedding": f"{_TABLE}; a raw table is not changed by `max_norm`",
    "torch.nn.functional.embedding_bag": (
        f"{_TABLE}; `per_sample_weights` are for bags of one size"
    ),
    "torch.nn.Embedding": _TABLE,
    "torch.nn.EmbeddingBag": f"{_TABLE}; `per_sample_weights` are for bags of one size",
    "torch.nn.functional.ctc_loss": (
        "the gradient is that of the formula; PyTorch's takes a log-softmax below it for granted"
    ),
    "torch.nn.CTCLoss": "see `ctc_loss`",
    "torch.nn.functional.linear_cross_entropy": "`options` are refused: see `memory_budget`",
    "torch.nn.LinearCrossEntropyLoss": "`options` are refused: see `memory_budget`",
    "torch.nn.functional.multi_head_attention_forward": (
        f"`static_k` and `static_v` are refused; {_ALL_HIDDEN}"
    ),
    "torch.nn.functional.scaled_dot_product_attention": _ALL_HIDDEN,
    "torch.nn.MultiheadAttention": _ALL_HIDDEN,
    "torch.nn.functional.cross_entropy": "class weights are constants",
    "torch.nn.functional.nll_loss": "class weights are constants",
    "torch.nn.functional.multi_margin_loss": "class weights are constants",
    **{
        f"torch.nn.functional.max_unpool{rank}d": (
            "of several values for one place the last one counts, in gradients, too"
        )
        for rank in (1, 2, 3)
    },
    **{
        f"torch.nn.Lazy{kind}": _LAZY
        for kind in (
            "Linear",
            *(
                f"{layer}{rank}d"
                for layer in ("Conv", "ConvTranspose", "BatchNorm", "InstanceNorm")
                for rank in (1, 2, 3)
            ),
        )
    },
    "torch.nn.Parameter": "makes a `tracer.Tensor`, of which it copies the array",
    "torch.nn.Buffer": "is an array once it is assigned to a module",
    "torch.nn.ParameterList": "holds parameters alone: arrays become some",
    "torch.nn.ParameterDict": "holds parameters alone: arrays become some",
    "torch.nn.Module.to": "takes a dtype, a device or both",
    "torch.nn.Module.state_dict": "gives copies, as arrays; takes no `destination`, `keep_vars`",
    "torch.nn.Module.load_state_dict": "copies: `assign=True` is refused",
    "torch.nn.Module.register_buffer": "keeps a copy of the array",
    "torch.nn.Module.half": "float16; sums, statistics and sweeps compute in float32",
    **{
        f"torch.nn.utils.{name}": _RESULTS
        for name in (
            "clip_grad_norm clip_grad_norm_ clip_grad_value_ clip_grads_with_norm_ get_total_norm"
        ).split()
    },
    "torch.nn.utils.rnn.PackedSequence": (
        "keeps sequences side by side; `data` and `batch_sizes` are worked out when asked for"
    ),
    "torch.optim.LBFGS": "`step(results, closure)`, where the closure returns results",
    "torch.optim.swa_utils.AveragedModel": "takes no `multi_avg_fn`: write `avg_fn`",
    "torch.optim.Optimizer": "is a base for optimisers of one's own: `step(results)`",
}

#: name with its namespace -> why it is absent, besides what errors say
REASONS = {
    "torch.nn.Module.T_destination": "a name for types, which are annotated here",
    "torch.nn.utils.parametrizations.orthogonal": (
        "write a module whose forward gives `np.linalg.qr(weight)[0]`, and register it"
    ),
    "torch.nn.utils.parametrize.cached": "a weight is computed once in a call: leave it out",
    "torch.nn.utils.parametrize.transfer_parametrizations_and_params": "register it again",
    "torch.nn.utils.parametrize.type_before_parametrizations": "`type(module)` stays what it was",
    "torch.nn.utils.rnn.invert_permutation": "write `np.argsort(permutation)`",
    "torch.optim.swap_in_optimizer_params_and_state": "load a checkpoint",
    "torch.optim.lr_scheduler.LRScheduler": "write LambdaLR of a function of the step",
    "torch.optim.swa_utils.get_ema_multi_avg_fn": "write get_ema_avg_fn",
    "torch.optim.swa_utils.get_swa_multi_avg_fn": "write get_swa_avg_fn",
}

#: namespace -> what its errors say of names that are absent
HINTS = {
    "torch.nn": hints.LAYERS,
    "torch.nn.Module": hints.MODULE,
    "torch.nn.functional": hints.FUNCTIONAL,
    "torch.nn.init": hints.INIT,
    "torch.nn.utils": hints.UTILS,
    "torch.optim": tracer_training.hints.NAMES,
}


class Row(NamedTuple):
    """A name of PyTorch's, whether it is here, and how or why not."""

    name: str
    state: str
    note: str


def found(namespace: str, name: str) -> object | None:
    """What has this name here, or None."""
    value: object | None = OURS[namespace]
    for part in name.split("."):
        value = getattr(value, part, None)
    return value


def row(namespace: str, name: str) -> Row:
    """The row of a name; a `KeyError` if it is absent and nothing says why."""
    full = f"{namespace}.{name}"
    if found(namespace, name) is not None:
        note = DEPARTURES.get(full, "")
        return Row(name, DEPARTS if note else PRESENT, note)
    if full in REASONS:
        return Row(name, ABSENT, REASONS[full])
    known = HINTS.get(namespace, {})
    return Row(name, ABSENT, known[name] if name in known else known[name.partition(".")[0]])


def rows() -> dict[str, list[Row]]:
    """Namespace -> its rows, in the order of the names."""
    return {
        namespace: [row(namespace, name) for name in names]
        for namespace, names in NAMES["names"].items()
    }


def page() -> str:
    """The page."""
    tables = rows()
    every = [each for table in tables.values() for each in table]
    count = {state: sum(r.state == state for r in every) for state in (PRESENT, DEPARTS, ABSENT)}
    counts = (
        f"Of {len(every)} names, {count[PRESENT]} are as in PyTorch, {count[DEPARTS]} depart in "
        f"what the tables say, and {count[ABSENT]} are absent."
    )
    parts = [HEAD.format(version=NAMES["version"], counts=counts)]
    for namespace, table in tables.items():
        parts.append(f"\n## {namespace}\n\n| name | here | how it departs, or what to write |\n")
        parts.append("|---|---|---|\n")
        parts += [f"| `{r.name}` | {r.state} | {r.note} |\n" for r in table]
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
