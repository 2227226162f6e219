"""The bundled quantities, each in terms of the algebra of parameter cotangents.

What a file names in `__all__` is here, and its quantities are registered.
"""

from tracer.extend import Quantity, defined
from tracer_quantities import curvature, first_order, hessian, products
from tracer_quantities.curvature import *
from tracer_quantities.first_order import *
from tracer_quantities.hessian import *
from tracer_quantities.products import *

QUANTITIES = tuple(defined(Quantity, first_order, curvature, hessian, products))

__all__ = ["QUANTITIES", *(quantity.__name__ for quantity in QUANTITIES)]
