"""The bundled quantities, each in terms of the algebra of parameter cotangents."""

from tracer_quantities.curvature import (
    KFAC,
    KFLR,
    DiagGGNExact,
    DiagGGNExactBatch,
    DiagGGNMC,
    DiagGGNMCBatch,
    SqrtGGNExact,
    SqrtGGNMC,
)
from tracer_quantities.first_order import (
    BatchDot,
    BatchL2,
    Grad,
    GradBatch,
    SumGradSquared,
    Variance,
)

QUANTITIES = (
    Grad,
    GradBatch,
    BatchL2,
    BatchDot,
    SumGradSquared,
    Variance,
    SqrtGGNExact,
    SqrtGGNMC,
    DiagGGNExact,
    DiagGGNMC,
    DiagGGNExactBatch,
    DiagGGNMCBatch,
    KFLR,
    KFAC,
)

__all__ = ["QUANTITIES", *(quantity.__name__ for quantity in QUANTITIES)]
