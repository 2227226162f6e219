"""The bundled quantities, each in terms of the algebra of parameter cotangents."""

from tracer_quantities.curvature import (
    KFAC,
    KFLR,
    KFRA,
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
from tracer_quantities.hessian import DiagH, DiagHBatch
from tracer_quantities.products import GGN, GGNMP, HMP, PCHMP, FisherEmpirical, FisherMC, Hessian

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
    KFRA,
    DiagH,
    DiagHBatch,
    GGNMP,
    HMP,
    PCHMP,
    GGN,
    Hessian,
    FisherMC,
    FisherEmpirical,
)

__all__ = ["QUANTITIES", *(quantity.__name__ for quantity in QUANTITIES)]
