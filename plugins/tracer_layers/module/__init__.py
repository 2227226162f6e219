"""What all layers are made of: modules, their names, states and dtypes, and what rules share."""

from tracer_layers.module import containers, module, parameters
from tracer_layers.module.containers import *
from tracer_layers.module.module import *
from tracer_layers.module.parameters import *

OPERATIONS = ()

__all__: list[str] = []
__all__ += containers.__all__
__all__ += module.__all__
__all__ += parameters.__all__
