"""Models of other libraries as modules: programs of PyTorch, and of ONNX.

```python
import tracer_import

model = tracer_import.load("model.pt2")
```

`load` opens what `torch.export.save` wrote, without PyTorch; `from_torch` takes a module of
PyTorch's where that is installed. Both give a `tracer_layers.Module` with PyTorch's names.
`load` reads `.onnx` too, with the package `onnx`.
"""

import sys

from tracer.extend import INTERNAL_FILES
from tracer_import.errors import ProgramError
from tracer_import.loading import from_torch, load
from tracer_import.module import Imported
from tracer_import.program import Program

__all__ = ["Imported", "Program", "ProgramError", "from_torch", "load"]

# what these modules record counts as recorded by a line of the model
INTERNAL_FILES.update(
    str(module.__file__)
    for name, module in list(sys.modules.items())
    if name.startswith(f"{__name__}.")
)
