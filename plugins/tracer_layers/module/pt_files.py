"""States that PyTorch has saved, `torch.save(model.state_dict(), path)`, read without it.

Such a file is a zip with a pickle that says which tensors there are, and the bytes of storages
beside it. A pickle is a program, and this one is not run: its steps are followed here, of which
none calls anything, and all that it may name is in `STORAGES` and `NAMES`.
"""

from __future__ import annotations

import pickletools
import sys
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np

from tracer.errors import TracerError
from tracer.extend import DType

#: PyTorch's names of storages, and how NumPy reads their elements; bfloat16 by its bits
STORAGES: dict[str, DType] = {
    "torch.DoubleStorage": np.dtype("f8"),
    "torch.FloatStorage": np.dtype("f4"),
    "torch.HalfStorage": np.dtype("f2"),
    "torch.BFloat16Storage": np.dtype("u2"),
    "torch.LongStorage": np.dtype("i8"),
    "torch.IntStorage": np.dtype("i4"),
    "torch.ShortStorage": np.dtype("i2"),
    "torch.CharStorage": np.dtype("i1"),
    "torch.ByteStorage": np.dtype("u1"),
    "torch.BoolStorage": np.dtype("?"),
}
TENSOR, PARAMETER = "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"
ORDERED, SIZE = "collections.OrderedDict", "torch.Size"
NAMES = (TENSOR, PARAMETER, ORDERED, SIZE)
#: under which names a state stands in what a training saved
NESTED = ("state_dict", "model_state_dict", "model")


@dataclass(frozen=True)
class Global:
    """A name that a pickle imports, and of which nothing is imported here."""

    name: str


@dataclass(frozen=True)
class Storage:
    """The bytes under a key, as elements of a kind."""

    kind: str
    key: str


@dataclass(frozen=True)
class SavedTensor:
    """Elements of a storage, from `offset` on and `strides` of them apart."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


#: what following a pickle raises that is corrupt
OF_PICKLES = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
#: what a pickle makes: numbers, texts, containers, and the classes above
Made: TypeAlias = object


class Refused(TracerError):
    """What a file holds that is not read."""


def read_pt(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a saved state by name; bfloat16 becomes float32, which holds its values.

    The state is what was saved, or stands in it under one of `NESTED`. Nothing of the file is
    executed. Raises `TracerError` for one that is corrupt, or names what is no part of a state.
    """
    with zipfile.ZipFile(path) as file:
        members = _members(path, file)
        try:
            saved = followed(_read(file, members["data.pkl"]))
        except Refused as error:
            raise TracerError(f"{str(path)!r} {error}") from None
        except OF_PICKLES as error:
            raise corrupt(path, f"its pickle breaks off or is none ({error})") from error
        state = _state(path, saved)
        storages: dict[Storage, np.ndarray] = {}
        order = _read(file, members["byteorder"]).decode() if "byteorder" in members else "little"
        arrays = {}
        for name, tensor in state.items():
            storage = tensor.storage
            if storage not in storages:
                member = members.get(f"data/{storage.key}")
                if member is None:
                    raise corrupt(
                        path, f"the elements of {name!r}, data/{storage.key}, are not there"
                    )
                storages[storage] = _elements(path, name, storage, _read(file, member), order)
            arrays[name] = _array(path, name, tensor, storages[storage])
    return arrays


def corrupt(path: Path, why: str) -> TracerError:
    """The error of a file that is damaged."""
    return TracerError(f"{str(path)!r} is no whole file of PyTorch's: {why}")


# -- the zip ---------------------------------------------------------------------------------------


def is_pt(file: zipfile.ZipFile) -> bool:
    """Whether a zip is one of `torch.save`."""
    return any(name == "data.pkl" or name.endswith("/data.pkl") for name in file.namelist())


def _members(path: Path, file: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """What is in the file, by the names below its only folder; sizes are those that can be."""
    found = file.infolist()
    root = next(m.filename for m in found if m.filename.rpartition("/")[2] == "data.pkl")
    root = root.removesuffix("data.pkl")
    size = path.stat().st_size
    members = {}
    total = 0
    for member in found:
        name = member.filename.removeprefix(root)
        if name in members:
            raise corrupt(path, f"{name} is there twice")
        if member.compress_type != zipfile.ZIP_STORED:
            raise corrupt(path, f"{name} is compressed, and PyTorch compresses nothing")
        total += member.file_size
        members[name] = member
    if total > size:
        raise corrupt(path, f"its parts would have {total} bytes, and the file has {size}")
    return members


def _read(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    with file.open(member) as part:
        return part.read()


# -- the pickle ------------------------------------------------------------------------------------


def followed(pickle: bytes) -> Made:
    """What a pickle describes, made of numbers, texts, containers and `SavedTensor`.

    Raises `Refused` for names that are not known and for steps that states have none of.
    """
    machine = _Machine()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in texts
        for opcode, argument, _ in pickletools.genops(pickle):
            machine.step(opcode.name, argument)
    return machine.stack[-1]


#: opcodes whose argument is what they put on the stack
LITERALS = frozenset(
    "BININT BININT1 BININT2 INT LONG LONG1 LONG4 BINFLOAT FLOAT BINUNICODE SHORT_BINUNICODE "
    "BINUNICODE8 UNICODE SHORT_BINBYTES BINBYTES BINBYTES8 BINSTRING SHORT_BINSTRING".split()
)
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
NOTHING = frozenset(("PROTO", "FRAME", "STOP"))


class _Machine:
    """The stack of a pickle, those around it, and what it remembers."""

    def __init__(self) -> None:
        self.stack: list[Made] = []
        self.outer: list[list[Made]] = []
        self.memo: dict[int, Made] = {}

    def step(self, opcode: str, argument: Made) -> None:
        stack = self.stack
        if opcode in LITERALS:
            stack.append(argument)
        elif opcode in CONSTANTS:
            stack.append(CONSTANTS[opcode])
        elif opcode in TUPLES:
            stack[-TUPLES[opcode] :] = [tuple(self._last(TUPLES[opcode]))]
        elif opcode in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[cast(int, argument)] = stack[-1]
        elif opcode in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[cast(int, argument)])
        elif opcode not in NOTHING:
            method = getattr(self, f"_{opcode.lower()}", None)
            if method is None:
                raise Refused(f"holds {opcode}, a step of pickles that no state needs")
            method() if argument is None else method(argument)

    def _last(self, count: int) -> list[Made]:
        if len(self.stack) < count:
            raise ValueError("its stack is empty")
        return self.stack[len(self.stack) - count :]

    def _memoize(self) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    # containers

    def _mark(self) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def _marked(self) -> list[Made]:
        marked, self.stack = self.stack, self.outer.pop()
        return marked

    def _empty_dict(self) -> None:
        self.stack.append({})

    def _empty_list(self) -> None:
        self.stack.append([])

    def _tuple(self) -> None:
        marked = tuple(self._marked())
        self.stack.append(marked)

    def _setitem(self) -> None:
        key, value = self._last(2)
        del self.stack[-2:]
        _put(self.stack[-1], [(key, value)])

    def _setitems(self) -> None:
        marked = self._marked()
        _put(self.stack[-1], zip(marked[::2], marked[1::2], strict=True))

    def _append(self) -> None:
        value = self.stack.pop()
        _list(self.stack[-1]).append(value)

    def _appends(self) -> None:
        marked = self._marked()
        _list(self.stack[-1]).extend(marked)

    # what is named, and what would be called

    def _global(self, argument: str) -> None:
        self._named(*argument.split(" ", 1))

    def _stack_global(self) -> None:
        module, name = self._last(2)
        del self.stack[-2:]
        self._named(str(module), str(name))

    def _named(self, module: str, name: str) -> None:
        dotted = f"{module}.{name}"
        if dotted not in STORAGES and dotted not in NAMES:
            raise Refused(
                f"names {dotted}, which is no part of a state, and nothing of it was run: save "
                f"with torch.save(model.state_dict(), path)"
            )
        self.stack.append(Global(dotted))

    def _reduce(self) -> None:
        called, arguments = self._last(2)
        del self.stack[-2:]
        if not isinstance(called, Global) or not isinstance(arguments, tuple):
            raise ValueError("it calls what is no function")
        if called.name == ORDERED:
            made: dict[Made, Made] = {}
            for pairs in arguments[:1]:
                _put(made, cast("Iterable[tuple[Made, Made]]", pairs))
            self.stack.append(made)
        elif called.name == TENSOR:
            _refuse_views(arguments[6:])
            self.stack.append(_tensor(*arguments[:4]))
        elif called.name == PARAMETER:
            self.stack.append(arguments[0])
        elif called.name == SIZE:
            self.stack.append(tuple(cast("tuple[Made, ...]", arguments[0])))
        else:
            raise ValueError(f"it calls {called.name}")

    def _build(self) -> None:
        """Attributes of a mapping are left out: PyTorch's states have `_metadata`."""
        self.stack.pop()
        _mapping(self.stack[-1])

    def _binpersid(self) -> None:
        tag, kind, key, *_ = cast("tuple[Made, ...]", self.stack.pop())
        if tag != "storage" or not isinstance(kind, Global) or kind.name not in STORAGES:
            raise ValueError(f"it refers to {tag!r}")
        self.stack.append(Storage(kind.name, str(key)))


def _mapping(value: Made) -> dict[Made, Made]:
    if not isinstance(value, dict):
        raise ValueError("it puts items into what is no dict")
    return value


def _put(mapping: Made, pairs: Iterable[tuple[Made, Made]]) -> None:
    """Set items, under keys that do not hold others: the hash of a deep tuple ends the program."""
    items = _mapping(mapping)
    for key, value in pairs:
        if not isinstance(key, str | int | float | None):
            raise ValueError(f"a key is a {type(key).__name__}")
        items[key] = value


def _list(value: Made) -> list[Made]:
    if not isinstance(value, list):
        raise ValueError("it appends to what is no list")
    return value


def _refuse_views(metadata: Sequence[Made]) -> None:
    """Raise for a tensor whose elements are to be negated or conjugated when they are read."""
    if any(isinstance(each, dict) and any(each.values()) for each in metadata):
        raise ValueError(
            "it has a negative or conjugate view: save it after resolve_neg() and resolve_conj()"
        )


def _tensor(storage: Made, offset: Made, shape: Made, strides: Made) -> SavedTensor:
    if not isinstance(storage, Storage) or not isinstance(shape, tuple):
        raise ValueError("it has a tensor without a storage or a shape")
    numbers = (offset, *shape, *cast("tuple[Made, ...]", strides))
    if not all(type(n) is int and n >= 0 for n in numbers) or len(numbers) != 1 + 2 * len(shape):
        raise ValueError(f"it has a tensor of shape {shape}, from {offset} on, {strides} apart")
    return SavedTensor(
        storage, *cast("tuple[int, tuple[int, ...], tuple[int, ...]]", (offset, shape, strides))
    )


# -- the state -------------------------------------------------------------------------------------


def _state(path: Path, saved: Made) -> Mapping[str, SavedTensor]:
    """The mapping of names to tensors in what was saved."""
    if isinstance(saved, Mapping):
        for found in (saved, *(saved.get(name) for name in NESTED)):
            if isinstance(found, Mapping) and all(
                isinstance(key, str) and isinstance(value, SavedTensor)
                for key, value in found.items()
            ):
                return found
        held = ", ".join(f"{key!r}" for key in saved) or "nothing"
    else:
        held = f"a {type(saved).__name__}"
    raise TracerError(
        f"{str(path)!r} holds {held}, and no state of a model, names and tensors, by itself or "
        f"under {', '.join(map(repr, NESTED))}: save with "
        f"torch.save(model.state_dict(), path)"
    )


def _elements(path: Path, name: str, storage: Storage, raw: bytes, order: str) -> np.ndarray:
    dtype = STORAGES[storage.kind]
    if len(raw) % dtype.itemsize:
        raise corrupt(path, f"{name!r} has {len(raw)} bytes, for elements of {dtype.itemsize}")
    elements = np.frombuffer(raw, dtype)
    if order != sys.byteorder:
        elements = elements.byteswap()
    if storage.kind == "torch.BFloat16Storage":
        return (elements.astype(np.uint32) << 16).view(np.float32)
    return elements


def _array(path: Path, name: str, tensor: SavedTensor, elements: np.ndarray) -> np.ndarray:
    """A tensor as a view of its storage, where it lies within."""
    shape, strides = tensor.shape, tensor.strides
    if 0 in shape:
        return np.zeros(shape, elements.dtype)
    last = tensor.offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if last >= len(elements):
        raise corrupt(
            path, f"{name!r} {list(shape)} ends at element {last} of a storage of {len(elements)}"
        )
    return np.lib.stride_tricks.as_strided(
        elements[tensor.offset :],
        shape,
        [stride * elements.itemsize for stride in strides],
        writeable=False,
    )
