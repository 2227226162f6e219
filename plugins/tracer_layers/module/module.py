"""`Module`: what layers and models are made of, with the interface of `torch.nn.Module`."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from types import MappingProxyType
from typing import Any

import numpy as np

from tracer import Tensor
from tracer.errors import HintError, TracerError, suggestion
from tracer.extend import (
    Array,
    Convertible,
    Drawing,
    Tape,
    TensorLike,
    backend,
    backend_for,
    current_cursor,
    is_device,
    numbers,
    origin_of,
    raw,
    using,
)
from tracer_layers.module import batch_marks, hints, hooks, naming
from tracer_layers.module.calling import call_as_root, call_elsewhere, enter
from tracer_layers.module.calls import active
from tracer_layers.module.devices import moved_when_made, takes_device
from tracer_layers.module.dtypes import float_dtype
from tracer_layers.module.files import read_state, write_state
from tracer_layers.module.hooks import Hook, RemovableHandle
from tracer_layers.module.loading import IncompatibleKeys, Unmade, convert, load, saved
from tracer_layers.module.state import Buffer, copied, described, is_parameter
from tracer_layers.module.table import Row, html_table

__all__ = ["Module"]

#: kinds of what a module holds as arrays that are no parameters
BUFFERS = ("buffer", "transient")
#: keywords of `Module.draw` that are no inputs
DRAW_OPTIONS = inspect.signature(Tape.draw).parameters.keys()

#: attributes that are of a module itself, or only speed up the next call: copies have others
_OF_CALLS = ("_place", "_found", "_owners", "_serial_number")

_NEVER_CALLED = (None,) * 6


class _Structure:
    """What all modules hold as parameters and modules: `version` is a new object after each change.

    Every call asks a model for its modules and every sweep for its parameters: they are looked for
    once per version.
    """

    version = object()


_structure = _Structure()


class Module:
    """Base of layers and models; mirrors `torch.nn.Module`.

    Parameters (`tracer.parameter`) and modules assigned to attributes are registered under the
    attribute's name; numbers of NumPy's become Python's, which decide no dtype. Subclasses define
    `forward`; calling the module runs it. The outermost module called marks its raw arrays as
    batches of samples and names the parameters of the tape.

    An argument `device` of a constructor is where the module is when it is made; see `to`.

    Calls leave nothing of what they compute on a module: after any number of them it is copied
    (`copy.copy`, `copy.deepcopy`) and pickled like a new one, and several threads may call it at
    once. The parameters of a deep copy and of an unpickled module are new leaves.
    """

    training: bool

    #: it marks the raw arrays that it is called with, so that who calls it need not
    marks_inputs = True

    #: whether it takes sequences with the samples on axis 1, as `torch.nn.LSTM` does by default
    sequence_first = False

    #: attribute name -> "parameter", "buffer", "transient" (a buffer that is not saved) or "module"
    _registered: dict[str, str]
    #: the modules that hold this one, and under which names
    _owners: list[tuple[weakref.ref[Module], str]]
    #: modules are numbered in the order in which they are made
    _serial_number: int
    #: where it was called last: in which model, its scope, the scope and classes around; and the
    #: classes inside, and what is called there
    _place: tuple[object, ...]
    #: what it calls before and after its forward, and around its state
    _hooks: hooks.Hooks | None = None
    #: attribute name -> how it is computed of others
    _computed: Mapping[str, hooks.Computed] = MappingProxyType({})
    #: what is registered under names that the class has for something else, which attributes give
    _behind: Mapping[str, naming.Content] = MappingProxyType({})
    #: whether it registers what has such a name, which a model of another library may have
    _takes_any_name = False
    #: what was looked for -> the version of the structure of modules, and what was found in it
    _found: dict[str, tuple[object, list[Any]]]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        made = vars(cls).get("__init__")
        if made is not None and takes_device(made):
            cls.__init__ = moved_when_made(made)  # type: ignore[method-assign]

    def __new__(cls, *args: Any, **options: Any) -> Module:
        if (args or options) and cls.__init__ is object.__init__:  # which would not mind them
            given = described(args[0]) if args else f"{next(iter(options))}="
            raise TracerError(
                f"{cls.__name__} takes no arguments, got {given}: make it without and call it, as "
                f"{cls.__name__}()(x), or define __init__"
            )
        self = super().__new__(cls)
        vars(self).update(training=True, _registered={}, _owners=[], _serial_number=next(numbers))
        vars(self).update(_place=_NEVER_CALLED, _found={})
        return self

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles take over: what the module is, and nothing that calls found."""
        state = {key: value for key, value in vars(self).items() if key not in _OF_CALLS}
        state["_registered"] = dict(self._registered)
        if self._behind:
            state["_behind"] = dict(self._behind)
        if isinstance(own := state.get("forward"), hooks.Forward):
            del state["forward"]
            if own.inner is not None:
                state["forward"] = own.inner
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _place=_NEVER_CALLED, _found={})
        vars(self).setdefault("_owners", [])
        vars(self).setdefault("_serial_number", next(numbers))
        for name in self._registered:
            self._own(name, (self._behind if name in self._behind else vars(self)).get(name))
        hooks.stand_before(self)
        if any(isinstance(value, list | dict) for value in state.values()):
            naming.note_container(self)

    # -- calling ----------------------------------------------------------------------------

    @property
    def batch_axis(self) -> int:
        """Where the samples are in arrays that the outermost module is called with.

        Axis 1 if it takes sequences first, else axis 0. Where modules in it take sequences first,
        it is axis 1 if that is what puts the samples on axis 1 of what they are called with. A
        class whose inputs lie otherwise overrides it: `batch_axis = 1`.
        """
        return 1 if self.sequence_first else 0

    def _may_be_sequence_first(self) -> bool:
        """Whether modules in it tell where its samples are, by what they are called with."""
        if self.sequence_first or type(self).batch_axis is not Module.batch_axis:
            return False
        below = self._once("below", lambda: self._walk()[1:])  # itself would be a cycle
        return True in [module.sequence_first for _, module in below]

    def holds_samples(self, value: TensorLike) -> bool:
        """Whether an array that the outermost module is called with is a batch: masks are not."""
        return value.dtype.kind != "b"

    def forward(self, *inputs: Any) -> Any:
        """What the module computes."""
        raise NotImplementedError(f"{type(self).__name__} has no forward: define forward(self, x)")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        cursor, call = current_cursor(), active.get()
        if call is None:
            return call_as_root(self, cursor, inputs, options)
        if self.sequence_first and (choice := batch_marks.choosing()) is not None:
            choice.declare(1, inputs, options)
        if cursor is None:
            return self.forward(*inputs, **options)
        inside = enter(self, cursor.place, call)
        if inside is None:
            return call_elsewhere(self, cursor, inputs, options)
        with using(cursor.tape, inside):
            return self.forward(*inputs, **options)

    def parameter_owner(self, leaf: Any) -> tuple[naming.Named, str] | None:
        """The model of this module, and what it calls a parameter that this module holds itself.

        That may be in a plain list of it or of a module in it, of which a warning tells.
        """
        for name, parameter in self._held("parameter"):
            if origin_of(parameter.node) is leaf:
                return self._named_in_model(name)
        for holder in naming.with_plain_lists(self):
            for container, name, parameter in naming.plain_parameters(holder):
                if origin_of(parameter.node) is leaf:
                    naming.warn_of_parameters(container)
                    return holder._named_in_model(name)
        return None

    def _named_in_model(self, name: str) -> tuple[naming.Named, str]:
        top = naming.top_of(self)
        path = naming.of(top, self).located[self._serial_number].path
        return top, naming.joined(path, name)

    def named_parameters_of(self, module: Module) -> Iterator[tuple[str, Tensor]]:
        """Name in this model, and parameter, of a module in it: of each the first name."""
        path = naming.of(self, module).located[module._serial_number].path
        first = {id(parameter): name for name, parameter in self.named_parameters()}
        for name, parameter in module.named_parameters():
            yield first.get(id(parameter)) or naming.joined(path, name), parameter

    # -- hooks ------------------------------------------------------------------------------

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` before each forward; what it returns takes their place.

        It returns None, a tuple of arguments or a single one; `with_kwargs`, it is called as
        `hook(module, args, kwargs)` and returns None or both. What it records is the module's.
        Hooks run where `forward` is called by itself, too, but not where hooks call it.
        """
        return hooks.register(self, "before", hook, prepend=prepend, with_kwargs=with_kwargs)

    def register_forward_hook(
        self,
        hook: Hook,
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Call `hook(module, args, output)` after each forward; what it returns is the output.

        None leaves the output as it is. `with_kwargs`, it is called as `hook(module, args, kwargs,
        output)`; `always_call`, after errors, too, with the output that there is, or None.
        """
        return hooks.register(
            self, "after", hook, prepend=prepend, with_kwargs=with_kwargs, always_call=always_call
        )

    def register_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, {})` after `state_dict`, to change it in place."""
        return hooks.register(self, "saved", hook)

    def register_load_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(module, incompatible_keys)` after `load_state_dict`; the lists may change."""
        return hooks.register(self, "loaded", hook)

    # -- registration -----------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        kind = self._registered.get(name)
        if name in self._behind:
            if kind in _kinds_of(value):
                return self._put_behind(name, value)
            kind = None
        if kind is None and name in self._computed:
            return self._computed[name].assign(self, value)
        if isinstance(value, Module):
            kind = "module"
        elif is_parameter(value):
            kind = "parameter"
        elif isinstance(value, Buffer):
            if kind is None:
                vars(self).pop(name, None)
            return self._register(name, value.kind, value.data)
        elif kind == "parameter" and value is not None:
            raise TracerError(
                f"{type(self).__name__}.{name} is a parameter: assign a tracer.parameter or None, "
                f"not {described(value)}"
            )
        elif kind == "module" and value is not None:
            raise TracerError(
                f"{type(self).__name__}.{name} is a module: assign a Module or None, "
                f"not {described(value)}"
            )
        elif kind in BUFFERS:
            value = copied(f"{type(self).__name__}.{name}", value)
        if kind is not None:
            self._registered[name] = kind
        elif isinstance(value, np.number | np.bool_):
            value = value.item()
        elif isinstance(value, list | dict):
            naming.note_container(self)
        object.__setattr__(self, name, value)
        if kind in ("parameter", "module"):
            self._own(name, value)
            _structure.version = object()

    def _own(self, name: str, value: Any) -> None:
        """Let what was registered know whose it is."""
        if isinstance(value, Module):
            naming.own_module(value, self, name)
        elif is_parameter(value):
            naming.own_parameter(value.node.params, self)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        self._registered.pop(name, None)
        _structure.version = object()

    def __getattr__(self, name: str) -> Any:
        if name in vars(self).get("_computed", ()):
            return hooks.value_of(self, name)
        message = f"{type(self).__name__} has no attribute {name!r}"
        known = () if name.startswith("__") else vars(self).get("_registered", ())
        meant = suggestion(name, known)  # self.layers where there is self.layer is a slip
        if name in hints.MODULE and not meant:
            raise HintError(f"{message}: {hints.MODULE[name]}")
        raise AttributeError(f"{message}.{meant}")

    def _register(self, name: str, kind: str, value: Any) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise TracerError(f"a {kind}'s name is a string without dots, got {name!r}")
        taken = name in vars(self) or hasattr(type(self), name) or name in self._computed
        if name in self._behind or (taken and name not in self._registered):
            if not self._takes_any_name:
                raise TracerError(f"{type(self).__name__} has an attribute {name!r} already")
            vars(self).setdefault("_behind", {})[name] = None
            self._registered[name] = kind
            return self._put_behind(name, value)
        if kind in BUFFERS:
            value = copied(f"{type(self).__name__}.{name}", value)
            self._registered[name] = kind
            object.__setattr__(self, name, value)
        else:
            self._registered[name] = kind
            setattr(self, name, value)
        _structure.version = object()  # also where a buffer takes the name of a parameter

    def _value(self, name: str) -> naming.Content:
        """What is registered under a name, also where the class has it for something else."""
        return self._behind[name] if name in self._behind else getattr(self, name)

    def _put_behind(self, name: str, value: naming.Content) -> None:
        """Register a value under a name that the class has for something else."""
        if self._registered[name] in BUFFERS:
            value = copied(f"{type(self).__name__}.{name}", value)
        vars(self)["_behind"][name] = value
        self._own(name, value)
        _structure.version = object()

    def register_parameter(self, name: str, param: Tensor | None) -> None:
        """Register a parameter, or None to keep the name for one."""
        if param is not None and not is_parameter(param):
            raise TracerError(f"{name!r} is a tracer.parameter or None, got {described(param)}")
        self._register(name, "parameter", param)

    def register_buffer(
        self, name: str, tensor: Convertible | None, persistent: bool = True
    ) -> None:
        """Register a copy of an array that belongs to the state and is not trained, or None.

        What is assigned to the attribute later is copied, too. Change a buffer by assigning to it:
        arrays that a tape has seen stay what they were.
        """
        self._register(name, "buffer" if persistent else "transient", tensor)

    def add_module(self, name: str, module: Module | None) -> None:
        """Register a module under any name, a number among them."""
        if module is not None and not isinstance(module, Module):
            raise TracerError(
                f"{type(self).__name__} expects {name!r} as a Module or None, got "
                f"{hints.no_module(module) or described(module)}"
            )
        self._register(name, "module", module)

    register_module = add_module

    # -- what it holds ----------------------------------------------------------------------

    def _held(self, *kinds: str) -> Iterator[tuple[str, Any]]:
        for name, kind in self._registered.items():
            if kind in kinds and (value := self._value(name)) is not None:
                yield name, value

    def _named(
        self, kinds: tuple[str, ...], prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self._walk(prefix, remove_duplicate) if recurse else [(prefix, self)]:
            for name, kind in module._registered.items():
                if kind not in kinds or (value := module._value(name)) is None:
                    continue
                if remove_duplicate and id(value) in seen:
                    continue
                seen.add(id(value))
                yield naming.joined(path, name), value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Dotted name and parameter; one held twice comes under its first name."""
        if prefix or not (recurse and remove_duplicate):
            return self._named(("parameter",), prefix, recurse, remove_duplicate)
        return iter(
            self._once("parameters", lambda: list(self._named(("parameter",), "", True, True)))
        )

    def _once(self, what: str, find: Callable[[], list[Any]]) -> list[Any]:
        """What `find` gives, looked for once per version of the structure of modules."""
        version, found = self._found.get(what, (None, []))
        if version is not _structure.version:
            version = _structure.version
            found = find()
            self._found[what] = version, found
        return found

    def parameters(self, recurse: bool = True) -> Iterator[Tensor]:
        """Every parameter once."""
        return (value for _, value in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Array]]:
        """Dotted name and array of every buffer."""
        return self._named(("buffer", "transient"), prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Array]:
        """Every buffer once."""
        return (value for _, value in self.named_buffers(recurse=recurse))

    def named_modules(
        self, memo: set[Any] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module under `prefix`, and all below it, depth first, without those in `memo`."""
        if isinstance(memo, str):
            raise TracerError(f"named_modules expects its prefix by name: prefix={memo!r}")
        left_out = {id(module) for module in memo or ()}
        found = self._walk(prefix, remove_duplicate)
        return (pair for pair in found if id(pair[1]) not in left_out)

    def _walk(self, prefix: str = "", remove_duplicate: bool = True) -> list[tuple[str, Module]]:
        """The same as a list."""
        found: list[tuple[str, Module]] = []
        seen: set[int] = set()
        waiting: list[tuple[str, Module]] = [(prefix, self)]
        while waiting:
            path, module = waiting.pop()
            if remove_duplicate and id(module) in seen:
                continue
            seen.add(id(module))
            found.append((path, module))
            waiting += [
                (naming.joined(path, name), child)
                for name, kind in reversed(module._registered.items())
                if kind == "module" and (child := module._value(name)) is not None
            ]
        return found

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (module for _, module in self._walk("", remove_duplicate))

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Name and module of those held directly, each once."""
        seen: set[int] = set()
        for name, child in self._held("module"):
            if id(child) not in seen:
                seen.add(id(child))
                yield name, child

    def children(self) -> Iterator[Module]:
        """The modules held directly, each once."""
        return (child for _, child in self.named_children())

    def get_submodule(self, target: str) -> Module:
        """The module at a dotted path; the empty path is this one.

        Raises `AttributeError` for a path that leads to none.
        """
        module = self
        for name in filter(None, target.split(".")):
            module = _registered_at(module, name, "module")
        return module

    def get_parameter(self, target: str) -> Tensor:
        """The parameter at a dotted path; `AttributeError` if there is none."""
        path, _, name = target.rpartition(".")
        return _registered_at(self.get_submodule(path), name, "parameter")

    def get_buffer(self, target: str) -> Array:
        """The buffer at a dotted path; `AttributeError` if there is none."""
        path, _, name = target.rpartition(".")
        return _registered_at(self.get_submodule(path), name, *BUFFERS)

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put a module in the place of that at a dotted path, whose last part may be new.

        With `strict` there has to be one. Raises `AttributeError` for a path that leads to none or
        to what is no module.
        """
        if not target or not isinstance(module, Module):
            raise TracerError(
                f"set_submodule expects a path and a Module, got {target!r} and {described(module)}"
            )
        path, _, name = target.rpartition(".")
        owner = self.get_submodule(path)
        if strict or name in owner._behind or hasattr(owner, name):
            _registered_at(owner, name, "module")
        setattr(owner, name, module)

    # -- state ------------------------------------------------------------------------------

    def state_dict(self, *, prefix: str = "") -> dict[str, Array]:
        """Dotted name -> a copy of the raw array of each parameter and saved buffer.

        Its axes lie in memory as they did.
        """
        state = {
            prefix + full: raw(module._value(name)).copy(order="K")
            for full, module, name in saved(self)
        }
        for path, module, hook in hooks.of_tree(self, "saved"):
            hook(module, state, prefix + path + "." if path else prefix, {})
        return state

    def load_state_dict(
        self, state_dict: Mapping[str, Convertible], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Take over arrays (NumPy's, PyTorch's, nested lists) by name.

        They are copied in each parameter's dtype, to the device that it is on.
        Raises `ShapeError` that names everything that does not fit: keys that are missing or
        unexpected, unless `strict` is false; shapes that differ; values that the dtype does not
        hold; two values for one parameter. Nothing is loaded then. `strict=False` skips keys.
        Raises `TracingError` for tensors of an open tape, whose derivatives would be lost.
        """
        if assign or not isinstance(state_dict, Mapping):
            given = "assign=True" if assign else described(state_dict)
            raise TracerError(
                f"load_state_dict expects a mapping of names to arrays, which are copied, "
                f"got {given}"
            )
        keys = load(self, state_dict, strict)
        for _, module, hook in hooks.of_tree(self, "loaded"):
            hook(module, keys)
        return keys

    def save(self, path: str | PathLike[str]) -> None:
        """Write `state_dict()` into a file, as safetensors.

        It is written beside and renamed: whatever ends the program, under `path` is what was there
        before, or the new state. Other tools read it, PyTorch's by `safetensors.torch.load_file`.
        """
        write_state(path, self.state_dict())

    def load(self, path: str | PathLike[str], strict: bool = True) -> IncompatibleKeys:
        """Take over the state in a file, in place, as `load_state_dict` does.

        The file is one of safetensors, of `np.savez(path, **state_dict)`, or of
        `torch.save(model.state_dict(), path)`, also where that stands in a dict under
        "state_dict", "model_state_dict" or "model", or a checkpoint of a training, whose model is
        taken. What the file is, is found out from what is in it. PyTorch is not
        needed, and nothing in a file is executed. bfloat16 is read as float32.

        Raises `ShapeError` for a state that does not fit, `TracerError` for a file that is corrupt
        or holds what is no state, and `OSError` for one that is not there. The model is as it was
        then.
        """
        return self.load_state_dict(read_state(path), strict)

    # -- modes ------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Module:
        """Switch dropout and the like on, or off with `mode=False`."""
        if not isinstance(mode, bool | np.bool_):
            raise TracerError(f"train expects mode as True or False, got {mode!r}")
        for module in self.modules():
            module.training = bool(mode)
        return self

    def eval(self) -> Module:
        """`train(False)`."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Freeze all parameters (`False`) or let them want gradients again.

        A frozen parameter keeps its name and its ties, and is a constant to all that is computed
        with it afterwards. One by itself: `model.head.weight.requires_grad_(False)`.
        """
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def apply(self, fn: Callable[[Module], object]) -> Module:
        """Call `fn` on every module, those below first."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def to(self, *args: Any, **options: Any) -> Module:
        """`to(dtype)`, `to(device)` or both: convert and move parameters and buffers.

        A dtype is that of what is of a float dtype. A device is "cuda" or "cpu"; see
        `tracer.to_device`. Arrays are replaced, and tapes keep those that they recorded.
        """
        dtype = options.pop("dtype", None)
        device = options.pop("device", None)
        for argument in args:
            if isinstance(argument, str) and is_device(argument):
                device = argument
            else:
                dtype = argument
        if options:
            raise TracerError(
                f"to() expects a dtype or a device, got also {', '.join(options)}: leave it out"
            )
        found = float_dtype(dtype)
        library = None if device is None else backend_for(device)
        convert(self, None if dtype is None else found, library)
        return self

    def cuda(self, device: int | None = None) -> Module:
        """Move to the GPU: `to("cuda")`."""
        return self.to("cuda" if device is None else f"cuda:{device}")

    def cpu(self) -> Module:
        """Move to the host: `to("cpu")`."""
        return self.to("cpu")

    def float(self) -> Module:
        """Convert to float32."""
        return self.to(np.float32)

    def double(self) -> Module:
        """Convert to float64."""
        return self.to(np.float64)

    def half(self) -> Module:
        """Convert to float16."""
        return self.to(np.float16)

    def draw(self, *inputs: object, **options: Any) -> Drawing:
        """A picture of what a call of it with these inputs computes, which a notebook shows.

        `.save(path)` writes it. Keywords are the options of `tracer.Tape.draw`, as `depth=2` or
        `open="h.0"`, and all others are inputs; an input that is called as an option is given by
        its position.
        """
        given = {name: options.pop(name) for name in [*options] if name not in DRAW_OPTIONS}
        with Tape(watch=True) as tape:
            self(*inputs, **given)
        return tape.draw(**options)

    # -- text -------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """The arguments, for `repr`."""
        return ""

    def _repr_html_(self) -> str:
        """A table for notebooks: a row for each module, with its arguments and parameters."""
        rows = [
            Row(path, type(each).__name__, each.extra_repr(), each._made_parameters())
            for path, each in self.named_modules()
        ]
        return html_table(rows)

    def _made_parameters(self) -> list[Tensor]:
        """The parameters that there are: without those that a first call is to make."""
        made = [module for module in self.modules() if not isinstance(module, Unmade)]
        held = (value for module in made for _, value in module._held("parameter"))
        return list({id(value): value for value in held}.values())

    def __repr__(self) -> str:
        lines = [f"({name}): {child!r}" for name, child in self._held("module")]
        extra = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({extra})"
        body = "\n".join(filter(None, [extra, *lines])).replace("\n", "\n  ")
        return f"{type(self).__name__}(\n  {body}\n)"


def _kinds_of(value: object) -> tuple[str, ...]:
    """As what a value may be registered."""
    if isinstance(value, Module):
        return ("module",)
    return ("parameter",) if is_parameter(value) else BUFFERS if backend.is_array(value) else ()


def _registered_at(module: Module, name: str, *kinds: str) -> Any:
    """What a module holds under a name, which is to be of one of these kinds."""
    value = module._value(name)
    if module._registered.get(name) not in kinds and name not in module._computed:
        raise HintError(
            f"{type(module).__name__}.{name} is no {kinds[0]}, but {described(value)}: write "
            f"getattr(module, name) for what is there"
        )
    return value
