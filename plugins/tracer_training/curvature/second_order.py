"""The base of optimisers that step along a damped curvature's inverse times the gradient."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TypeAlias

from tracer import Tensor
from tracer.errors import TracerError, UndefinedWarning
from tracer.extend import Array, Quantity, Value, backend, working
from tracer_training.curvature.blocks import Block, block_in, block_of, saved_block
from tracer_training.curvature.cholesky import inverted
from tracer_training.curvature.damped import (
    CHOLESKY,
    INVERSE,
    Decompose,
    Solver,
    decomposed,
    solver_in,
)
from tracer_training.curvature.quantity import (
    Curvature,
    Diagonal,
    OrDiagonal,
    Undefined,
    curvature_of,
)
from tracer_training.optimizers.groups import Given, Group, State
from tracer_training.optimizers.optimizer import Optimizer, Results

#: parameter's id -> its block
Blocks: TypeAlias = dict[int, Block]


class SecondOrder(Optimizer):
    """Base of optimisers that step along `(G + damping)^-1` times the gradient, block by block.

    `curvature` is the quantity that G is. `shared` counts steps, and since which one intervals are
    counted: a group that is added starts them anew.
    """

    def __init__(self, params: Given, defaults: Mapping[str, object], curvature: Curvature):
        self.curvature = curvature_of(self._kind, curvature)
        #: what is asked for besides, for parameters that it is undefined for
        given = self.curvature
        self._diagonal = given.diagonal if isinstance(given, OrDiagonal) else None
        #: how the damped blocks of a step are decomposed, which may be divided among processes
        self.decompose: Decompose = decomposed
        self._told = False
        self._may_lack_factors = True
        #: names of parameters without a curvature in the last results, and why
        self._absent: Mapping[str, str] = {}
        #: parameter's id -> its name in the last results
        self._called: dict[int, str] = {}
        super().__init__(params, defaults)

    def initial_shared(self) -> dict[str, float]:
        return {"step": 0, "since": 0}

    def add_param_group(self, group: Mapping[str, object]) -> None:
        super().add_param_group(group)
        self.shared["since"] = self.shared["step"]

    def is_due(self, every: int) -> bool:
        """Whether what is done at each so many steps is done at the next one."""
        return (self.shared["step"] - self.shared["since"]) % every == 0

    def learn_names(self, results: Results) -> None:
        """Know parameters by the names that results have for them, in messages."""
        for _, parameter, key, _ in self.named(results):
            self._called[id(parameter)] = key if isinstance(key, str) else ""

    @property
    def asked_curvature(self) -> tuple[str | Quantity, ...]:
        """What is asked for where curvature is due.

        Besides the curvature that is, for one of averaged rows, the diagonal for parameters that
        have no factors: at the first time, since there may be some, and then if there were.
        """
        if self._diagonal is None or not self._may_lack_factors:
            return (self.curvature,)
        return self.curvature, self._diagonal

    def blocks(self, results: Results) -> Blocks:
        """The blocks in the results of a sweep; a warning, once, of those that are diagonal."""
        name, beside = self.curvature.name, self._diagonal
        values = self._by_parameter(results, name)
        diagonals: dict[int, Value] = {}
        if beside is not None and beside in results:
            diagonals = self._by_parameter(results, beside)
        self._absent = dict(getattr(self.value(results, name), "absent", {}))
        found: Blocks = {}
        taken: dict[str, str] = {}
        for _, parameter, _ in self.given(results):
            called, value = self.name_of(parameter), values.get(id(parameter))
            if isinstance(value, Diagonal | Undefined):
                self._absent[called] = value.reason
            if value is None or isinstance(value, Undefined):
                value = diagonals.get(id(parameter))
            if value is None:
                continue
            found[id(parameter)] = block_of(value, called, parameter.shape, name)
            if called in self._absent:
                taken[called] = self._absent[called]
        self._may_lack_factors = bool(self._absent)
        self._tell(taken)
        return found

    def _by_parameter(self, results: Results, quantity: str) -> dict[int, Value]:
        return {id(parameter): value for _, parameter, value in self.given(results, quantity)}

    def _tell(self, taken: Mapping[str, str]) -> None:
        """Warn once of parameters that have a diagonal, and why."""
        if not taken or self._told:
            return
        self._told = True
        listed = [f"{name!r} ({reason})" for name, reason in list(taken.items())[:4]]
        more = f" and {len(taken) - 4} more" if len(taken) > 4 else ""
        warnings.warn(
            f"{self._kind} takes the diagonal of the curvature where {self.curvature.name} is "
            f"undefined: {', '.join(listed)}{more}",
            UndefinedWarning,
            stacklevel=4,
        )

    def block(self, blocks: Blocks, parameter: Tensor) -> Block:
        """That of a parameter with a gradient. Raises `TracerError` if there is none."""
        if id(parameter) not in blocks:
            name = self.name_of(parameter)
            why = self._absent.get(name)
            raise TracerError(
                f"{self._kind} needs {self.curvature.name!r} of {name!r}, and the results have "
                f"none{f' ({why})' if why else ''}: sweep with tape.backward(loss, "
                f"optimizer.quantities)"
            )
        return blocks[id(parameter)]

    def kept_solver(self, state: State, parameter: Tensor) -> Solver:
        """The solver that was made at an earlier step. Raises `TracerError` if there is none."""
        solver = solver_in(state, parameter.shape)
        if solver is None:
            raise self._nothing_kept(parameter)
        return solver

    def kept_block(self, state: State, parameter: Tensor) -> Block:
        """The averaged block of a state. Raises `TracerError` if there is none."""
        block = block_in(state, parameter.shape)
        if block is None:
            raise self._nothing_kept(parameter)
        return block

    def _nothing_kept(self, parameter: Tensor) -> TracerError:
        return TracerError(
            f"{self._kind} has no curvature of {self.name_of(parameter)!r} yet, which was not used "
            f"when it was asked for last: ask at every step, or leave the parameter out"
        )

    def name_of(self, parameter: Tensor) -> str:
        """A parameter for messages: its name in the results, or its own, or its shape."""
        shape = f"a parameter of shape {list(parameter.shape)}"
        return self._called.get(id(parameter)) or parameter.name or shape

    # -- what is saved -------------------------------------------------------------------------

    def _loaded(self, parameter: Tensor, state: State, group: Group) -> State:
        loaded = super()._loaded(parameter, state, group)
        if loaded.get("form") == CHOLESKY and backend.of(parameter.data) is not backend.NUMPY:
            library = backend.of(parameter.data)
            host = [backend.to_host(array) for array in loaded["solver"]]
            loaded["solver"] = [library.from_host(inverted(array)) for array in host]
            loaded["form"] = INVERSE
        return loaded

    def _fitted(self, key: str, value: Value, parameter: Tensor, expected: State) -> Value:
        if not isinstance(value, list):
            return super()._fitted(key, value, parameter, expected)
        return [_moved(each, parameter) for each in value]


def averaged(state: State, new: Block, most: float) -> tuple[Block, State]:
    """The running mean of the blocks so far, and what the state keeps of it.

    At the t-th block, that of those before weighs `min(1 - 1/t, most)` (Martens and Grosse 2015,
    section 5): with 1 it is the plain mean of all.
    """
    count = state.get("updates", 0) + 1
    before = block_in(state, new.shape)
    if before is not None:
        new = before.averaged(new, max(1 / count, 1 - most))
    else:
        new = Block(new.shape, [array.copy() for array in new.arrays], new.order)
    return new, {"updates": count, **saved_block(new)}


def _moved(array: Array, parameter: Tensor) -> Array:
    """An array in the library of a parameter, in the dtype that its curvature is of."""
    moved = backend.moved(backend.as_array(array), backend.of(parameter.data))
    return moved.astype(working(parameter.dtype) if moved.dtype.kind == "f" else moved.dtype)
