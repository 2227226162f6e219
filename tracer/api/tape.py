"""The tape: a record, the sweeps over it, and its graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tracer import hooks
from tracer.api.drawing import draw
from tracer.arrays.types import Generator
from tracer.curvature.backward import backward
from tracer.curvature.progress import ProgressLike
from tracer.curvature.quantity import Quantities, Reduce
from tracer.errors import TracingError
from tracer.record import composite, hints
from tracer.record.describe import check_flags
from tracer.record.frames import INTERNAL_FILES
from tracer.record.node import Node
from tracer.record.recorder import Recorder
from tracer.record.tensor import Tensor
from tracer.sweep.observed import Cotangents

if TYPE_CHECKING:
    import networkx as nx


class Tape(Recorder):
    """Records the operations on tensors inside its `with` block.

    A tape opened inside another shares its record, so that what the inner one computes, its
    sweeps included, can be differentiated by the outer one. `watch=True` keeps statistics of every
    value and cotangent (norm, NaN and infinity counts), for pictures; `values=True` besides the
    numbers of small ones, with at most 6 rows and columns. `cotangents=True` keeps the derivative
    of the loss by every tensor: see `cotangents`. Raises `TracingError` for options that are
    neither True nor False.
    """

    def __init__(self, *, watch: bool = False, values: bool = False, cotangents: bool = False):
        if not (watch is values is cotangents is False):
            check_flags("Tape", watch=watch, values=values, cotangents=cotangents)
        super().__init__(watch=watch, values=values, cotangents=cotangents)

    def __enter__(self) -> Tape:
        super().__enter__()
        try:
            hooks.call("begin_trace", tape=self)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        hooks.call("end_trace", tape=self)

    def recorded(self) -> list[Node]:
        """The nodes of this tape's own block, in the order of recording."""
        return composite.recorded(self)

    def condensed(self) -> list[Node]:
        """The same, with composites in place of the operations that they stand for."""
        return composite.condensed(self)

    def backward(
        self,
        loss: Tensor,
        quantities: Quantities = ("grad",),
        *,
        memory_budget: int | None = None,
        rng: Generator | None = None,
        samples: Sequence[int] | None = None,
        reduce: Reduce | None = None,
        outputs: Tensor | None = None,
        undefined: str = "warn",
        parameters: object = None,
        progress: ProgressLike = None,
        **others: Any,
    ) -> dict[str, Any]:
        """One sweep for the gradient of `loss` and any number of further quantities.

        `loss` has one element; where all quantities are of the rows `jacobian`, which need no loss,
        it may be the model's outputs. `quantities` are registered names or configured objects.
        Returns quantity name -> parameter name -> value (raw arrays, or what the quantity defines);
        quantities of layers have values by the layer's path, those of the model one value.

        `memory_budget` bounds the bytes of temporary values: rows and samples are worked on in
        chunks, with identical results. Without one, a sweep stays within half of the memory that
        is free, its values included. What cannot be done within it raises `QuantityError`. `rng`
        (a `numpy.random.Generator`) makes sampled quantities reproducible. `samples` restricts
        quantities that are of single samples, or list them, to these.
        `reduce[name](parameter_name, value)` replaces a quantity's value as soon as it exists; a
        layer's has its path for a name, the model's an empty one.
        `outputs` is the tensor at which the Gauss-Newton matrix splits model from loss, for a loss
        in plain NumPy code. `undefined` says what is done
        where a quantity is undefined for some parameters: "warn" leaves them out and says so once,
        "raise" raises `QuantityError`; so does a quantity that no parameter has. `parameters`
        restricts the sweep to some: a name, a parameter, a module, or a collection of those.
        `progress(done, total, text)` is called now and then where it takes more than two seconds;
        True writes a line to stderr.

        Values are constants to this tape: for derivatives of gradients, sweep it inside of another
        tape, or use `tracer.grad`.

        The sweep frees what it has passed; another sweep of the same tape first replays the
        forward computation from the leaves.
        """
        if others:
            raise TracingError(hints.sweep(others))
        return backward(
            self,
            loss,
            quantities,
            memory_budget=memory_budget,
            rng=rng,
            samples=samples,
            reduce=reduce or {},
            outputs=outputs,
            undefined=undefined,
            parameters=parameters,
            progress=progress,
        )

    @property
    def cotangents(self) -> Cotangents:
        """`tape.cotangents[t]`: the derivative of the loss by a tensor on the tape, `[*t.shape]`.

        They are of a tape that was made with `cotangents=True`, after a sweep for `grad`; the last
        one counts. They take as much memory as all values, and are raw arrays, or tensors where an
        outer tape records the sweep. Raises `TracingError` where there are none.
        """
        if not self.keeps_cotangents:
            raise TracingError(
                "cotangents are kept where they are asked for before the sweep: record with "
                "tracer.Tape(cotangents=True)"
            )
        if not isinstance(self.arrived, Cotangents):
            raise TracingError(
                "cotangents are those of a sweep for `grad`, and there was none: call "
                "tape.backward(loss) first"
            )
        return self.arrived

    def graph(self, direction: str = "forward", time: str = "unrolled") -> nx.MultiDiGraph:
        """The recorded graph as a `networkx.MultiDiGraph`; see `tracer.graph.build`."""
        from tracer.graph.build import build  # networkx, which takes long to import

        return build(self, direction, time)

    draw = draw

    def _repr_mimebundle_(
        self, include: Iterable[str] | None = None, exclude: Iterable[str] | None = None
    ) -> dict[str, str]:
        if self.is_open or not self.nodes:
            return {"text/plain": repr(self)}
        return {**self.draw()._repr_mimebundle_(), "text/plain": repr(self)}


hints.give(Tape, "a tape", hints.TAPE)


INTERNAL_FILES.add(__file__)
