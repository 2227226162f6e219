"""`Tape.backward`: a request, its rows, their sweeps, what is extracted, and the results."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from tracer import hooks
from tracer.arrays.parallel import begin_work, end_work
from tracer.arrays.types import Generator
from tracer.curvature.averaged_sweep import sweep_averages
from tracer.curvature.extraction import Extraction
from tracer.curvature.gradients import Gradients, are_gradients
from tracer.curvature.progress import ProgressLike
from tracer.curvature.quantity import Quantities, Reduce, resolve
from tracer.curvature.request import (
    SIGNED,
    Options,
    Request,
    record_of,
    requested,
    surrounding_of,
)
from tracer.curvature.results import Results, collected_results
from tracer.curvature.rows import ggn_averaged
from tracer.curvature.seeding import Started, start_rows
from tracer.curvature.signed_sweep import sweep_signed_rows
from tracer.curvature.strategy import decided, prepare_record
from tracer.curvature.sweeping import sweep_bundles
from tracer.errors import BatchError, QuantityError
from tracer.record.frames import users_warnings
from tracer.record.recorder import Recorder, nobody_records, using
from tracer.record.tensor import Tensor


def backward(
    tape: Recorder,
    loss: Tensor,
    quantities: Quantities,
    *,
    memory_budget: int | None,
    rng: Generator | None,
    samples: Sequence[int] | None,
    reduce: Reduce,
    outputs: Tensor | None,
    undefined: str,
    parameters: object,
    progress: ProgressLike,
) -> Results:
    """See `Tape.backward`."""
    options = Options(memory_budget, rng, samples, reduce, outputs, undefined, parameters, progress)
    asked = resolve(quantities)
    nodes = record_of(tape, loss, asked)
    tape.loss = loss.node
    request: Gradients | Request
    if are_gradients(asked, options) and surrounding_of(tape) is None:
        request = Gradients(tape, loss, nodes, asked, options)
    else:
        request = requested(tape, loss, asked, nodes, options)
    hooks.call("begin_sweep", tape=tape, loss=loss)
    work_before = begin_work(tape.work)
    try:
        with users_warnings():
            results = gradients(request) if isinstance(request, Gradients) else curvature(request)
    finally:
        end_work(work_before)
    if request.watched is not None:
        tape.arrived = request.watched.cotangents
    hooks.call("end_sweep", tape=tape, results=results)
    for remark in request.remarks:
        warnings.warn(remark, stacklevel=3)
    if request.undefined.errors:
        request.undefined.warn()
    return results


def gradients(request: Gradients) -> Results:
    """The results of a request for gradients alone."""
    if nobody_records():  # nor does anybody have to be kept from it
        return request.swept()
    with using(None):
        return request.swept()


def curvature(request: Request) -> Results:
    """The results of a request: its rows start, are swept, and quantities extract from them."""
    with using(request.surrounding):
        return _extracted(request)


def _extracted(request: Request) -> Results:
    started = _started(request)
    for quantity in request.asked.values():
        quantity.begin(request.objective)
    extraction = Extraction(request, started.penalties)
    objective = request.objective
    separately = request.asked_separately
    of_objective = {q.name: q.of_objective(objective) for q in separately if q.rows is None}
    sweep_bundles(started, extraction)
    if any(q.rows in SIGNED for q in separately):
        sweep_signed_rows(started, extraction)
    if any(q.rows == ggn_averaged for q in separately):
        sweep_averages(started, extraction)
    objective.progress.finish()
    extraction.complete()
    return collected_results(request, extraction.values, of_objective)


def _started(request: Request) -> Started:
    """The rows of a request, without those of dispensable quantities that are undefined for it."""
    while True:
        try:
            strategy = decided(request)
            prepare_record(strategy)
            return start_rows(strategy)
        except (BatchError, QuantityError) as error:
            dispensable = [q for q in request.asked.values() if q.dispensable]
            if not dispensable:
                raise
            named = [q for q in dispensable if q.name in str(error)]
            for quantity in named or dispensable:
                request.withdraw(quantity, str(error))
