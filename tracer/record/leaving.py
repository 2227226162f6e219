"""Values that would leave the record: what the user wrote, and what to write in its place.

All of this runs on the way to an error alone. What called a conversion is read from the frames: a
function of NumPy's or SciPy's by its own, a function of C's by the text of the user's line.
"""

from __future__ import annotations

import ast
import builtins
import cmath
import linecache
import math
import sys
import textwrap
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from tracer.errors import TracingError
from tracer.record import dispatch
from tracer.record.frames import is_users

#: most characters of the user's text that a message quotes
SHOWN = 40

_STACK = "write np.stack([t, u]) for an array of tensors"
_ARRAY = "write tracer.array([[t, u], [v, 1]]) for an array of tensors"
_WRITE = f"{_STACK}, or a = tracer.at(a)[i].set(t) in place of writing into an array"
_CHOOSE = "write np.where(mask, t, a)"
_LEAVE = "leave the tensor as it is"
_IN_NUMPY = "write it in NumPy's functions, which take tensors"

#: functions of `math` and `cmath` that NumPy has by another name, or somebody else
MATH = {
    "fabs": "np.abs(t)",
    "fsum": "np.sum(t)",
    "sumprod": "np.vdot(t, u)",
    "dist": "np.linalg.norm(t - u)",
    "erf": "tracer.erf(t)",
    "erfc": "scipy.special.erfc(t)",
    "lgamma": "scipy.special.gammaln(t)",
    "gamma": "scipy.special.gamma(t)",
}

#: dotted name of a function, without private modules, or a method's own -> what to do
FUNCTIONS = {
    "round": "write np.round(t)",
    "float": _LEAVE,
    "int": _LEAVE,
    "complex": _LEAVE,
    "numpy.array": _ARRAY,
    "numpy.asarray": _ARRAY,
    "numpy.full": "write t * np.ones(shape)",
    "numpy.fromiter": _STACK,
    "numpy.copyto": _CHOOSE,
    "numpy.put": _WRITE,
    "numpy.place": _CHOOSE,
    "numpy.vectorize": _IN_NUMPY,
    "numpy.r_": "write tracer.r_[t, u], or tracer.array([t, u]) for an array of tensors",
    "numpy.c_": "write tracer.c_[t, u], or tracer.array([t, u]) for an array of tensors",
    "numpy.polynomial.polynomial.polyval": "write np.polyval(c[::-1], x), which has the highest "
    "power first, or np.vander(x, len(c), increasing=True) @ c",
    "numpy.polynomial.Polynomial": "write np.polyval(c[::-1], x), which has the highest "
    "power first",
    "numpy.ndenumerate": "write for i in np.ndindex(t.shape), and t[i]",
    "numpy.frompyfunc": _IN_NUMPY,
    "fill": "write np.full_like(a, t)",
    "put": _WRITE,
    "%": 'write an f-string, f"{t:.3f}"',
}

#: package of SciPy's -> what `tracer.scipy` has of it, with the same arguments
MIRRORED = {
    "scipy.linalg": "block_diag cho_factor cho_solve cholesky det eigh eigvalsh expm inv logm "
    "lu_factor lu_solve norm pinv qr solve solve_banded solve_continuous_lyapunov solve_lyapunov "
    "solve_sylvester solve_toeplitz solve_triangular solveh_banded sqrtm svd svdvals toeplitz",
    "scipy.fft": "fft ifft rfft irfft hfft ihfft fft2 ifft2 rfft2 irfft2 fftn ifftn rfftn irfftn "
    "fftshift ifftshift",
    "scipy.signal": "convolve convolve2d correlate correlate2d fftconvolve lfilter oaconvolve",
    "scipy.special": "log_softmax logsumexp multigammaln polygamma softmax",
    "scipy.stats": "bernoulli beta binom cauchy chi2 dirichlet expon gamma laplace lognorm "
    "multivariate_normal norm poisson t uniform",
    "scipy.integrate": "cumulative_trapezoid odeint quad simpson solve_ivp trapezoid",
}

#: package of a function that is not in the table -> what to do
PACKAGES = {
    "numpy.ma": "give array.filled(0) in place of the masked array, and let np.where(array.mask, "
    "0, result) leave out what its mask hides",
    "numpy.polynomial": "write the basis as a matrix of plain numbers, as "
    "np.polynomial.chebyshev.chebvander(x, degree), and multiply it with the coefficients",
    "scipy.sparse": "tracer.scipy.sparse.csr_matrix makes a matrix of entries that are a tensor, "
    "and tracer.scipy.sparse.linalg.spsolve solves with it",
    "scipy.integrate": "write the integral as a sum, np.sum(w * f(x)) at the nodes and weights "
    "x, w = np.polynomial.legendre.leggauss(n)",
    "scipy.stats": f"write the density in NumPy's functions; tracer.scipy.stats has "
    f"{MIRRORED['scipy.stats'].replace(' ', ', ')}",
    "scipy.optimize": "call the solver outside of the record, with plain numbers, for which "
    "tracer.scipy.optimize gives it gradients; what it finds has derivatives by tracer.implicit",
    "scipy": f"{_IN_NUMPY}, or in the ufuncs of scipy.special",
}


class Called(NamedTuple):
    """What converts a tensor: as it is shown, and its dotted name."""

    shown: str
    name: str


def ways(fallback: str) -> tuple[str, str]:
    """What the user called, and what to do in its place; `fallback` stands for the unknown."""
    try:
        called = caller()
    except Exception:  # of names of the user's that are not what they seem: the error is another
        called = None
    if called is None:
        return fallback, f"write np.exp(t) in place of math.exp(t), and {_WRITE[6:]}"
    return called.shown, instead(called.name)


def multiplies(value: object) -> bool:
    """Whether a sparse matrix of SciPy's that is multiplied with a value asks for its array now.

    If it gets one of an object, it leaves the product to the value.
    """
    frame = sys._getframe(2)
    asks = frame.f_code.co_name == "_matmul_dispatch" and _package(frame) == "scipy"
    return asks and frame.f_locals.get("other") is value


def instead(name: str) -> str:
    """What to do in place of a function of this dotted name."""
    if name in FUNCTIONS:
        return FUNCTIONS[name]
    for mirrored, names in MIRRORED.items():
        if name.startswith(f"{mirrored}.") and name.split(".")[2] in names.split():
            return f"write tracer.{name}"
    package, _, function = name.rpartition(".")
    there = getattr(np, function, None)
    if package in ("math", "cmath"):
        if function in MATH:
            return f"write {MATH[function]}"
        if there in dispatch.UFUNCS or there in dispatch.FUNCTIONS:
            return f"write np.{function}({'t' if getattr(there, 'nin', 1) == 1 else 't, u'})"
        return _IN_NUMPY
    if package == "numpy" and isinstance(there, type):
        return f"write t.astype(np.{function})"
    if package == "numpy" and there in dispatch.FUNCTIONS:
        return f"write np.{function}(np.stack([t, u]))"
    found = (way for start, way in PACKAGES.items() if f"{name}.".startswith(f"{start}."))
    return next(found, _WRITE)


def caller() -> Called | None:
    """What the user called that converts a tensor now, if it can be told."""
    frame: FrameType | None = sys._getframe(1)
    library = None
    while frame is not None and not is_users(frame):
        if _package(frame) in ("numpy", "scipy"):
            library = frame
        frame = frame.f_back
    if library is not None:
        name = _of_library(
            *(_wrapped(library) or (library.f_globals["__name__"], _own_name(library)))
        )
        if name.startswith("numpy.ma."):
            return Called("an operation of a masked array", name)
        return Called(_short(name), name)
    return None if frame is None else _in_text(frame)


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__")).partition(".")[0]


def _wrapped(frame: FrameType) -> tuple[str, str] | None:
    """The module and name of the function that SciPy's decorators call in this frame, if any."""
    if frame.f_code.co_name != "wrapper":
        return None
    function = frame.f_locals.get("f")
    if not isinstance(function, FunctionType):
        return None
    return function.__module__, function.__name__


def _own_name(frame: FrameType) -> str:
    """The name of a function; for a method like `__call__` that of the object, as users know it."""
    name = frame.f_code.co_name
    if (family := _distribution(frame.f_locals.get("self"))) is not None:
        return f"{family}.{name}".removesuffix(".__call__").removesuffix(".__init__")
    if name == "__ua_function__":  # by which SciPy hands on its transforms
        return getattr(frame.f_locals.get("method"), "__name__", name)
    if not name.startswith("__"):
        return name
    kind = type(frame.f_locals.get("self")).__name__
    return {"RClass": "r_", "CClass": "c_"}.get(kind, kind)


def _distribution(held: object) -> str | None:
    """The name of a distribution of `scipy.stats`, frozen or not; None for anything else."""
    kind = type(getattr(held, "dist", None) or getattr(held, "_dist", None) or held)
    of_stats = kind.__module__.startswith("scipy.stats.") and kind.__name__.endswith("_gen")
    return kind.__name__.removesuffix("_gen") if of_stats else None


def _of_library(module: str, function: str) -> str:
    """`scipy.special.logsumexp` of `scipy.special._logsumexp`, and `numpy.mean`."""
    parts = [part for part in module.split(".") if not part.startswith("_")]
    if parts[:2] != ["numpy", "polynomial"]:  # whose names NumPy itself has for other functions
        del parts[2:]
        if parts[:1] == ["numpy"] and hasattr(np, function):
            del parts[1:]
    return ".".join((*parts, function))


def _short(name: str) -> str:
    return f"np.{name[6:]}" if name.startswith("numpy.") else name


# -- the user's text ----------------------------------------------------------------------------


def _in_text(frame: FrameType) -> Called | None:
    """What the text of the instruction that a frame is at calls."""
    text = text_of(frame.f_code, frame.f_lasti, frame.f_globals)
    try:
        (statement,) = ast.parse(text).body
    except (SyntaxError, ValueError):
        return None
    shown = text if len(text) <= SHOWN and "\n" not in text else ""
    if isinstance(statement, ast.AugAssign):
        return Called(shown or "writing into an array", "a += t")
    node = statement.value if isinstance(statement, ast.Expr) else None
    if isinstance(node, ast.Call):
        name = _name_of(node.func, frame)
        return Called(shown or f"{ast.unparse(node.func)}()", name)
    if isinstance(node, ast.Subscript):
        return Called(f"{shown} = t" if shown else "writing into an array", "a[i] = t")
    if isinstance(node, ast.BinOp):
        formats = isinstance(node.op, ast.Mod)
        return Called(shown or "the operation", "%" if formats else "a * t")
    return None


def text_of(code: CodeType, lasti: int, names: dict[str, Any]) -> str:
    """The text of an instruction, or "" where there is none."""
    places = list(code.co_positions())
    if not 0 <= lasti // 2 < len(places):
        return ""
    start, stop, first, last = places[lasti // 2]
    if start is None or stop is None or first is None or last is None:
        return ""
    lines = linecache.getlines(code.co_filename, names)[start - 1 : stop]
    if not lines:
        return ""
    rows = [line.encode() for line in lines]  # places count bytes
    rows[-1] = rows[-1][:last]
    rows[0] = rows[0][first:]
    return textwrap.dedent(b"".join(rows).decode(errors="replace")).strip()


def _name_of(function: ast.expr, frame: FrameType) -> str:
    """The dotted name of what a call calls; of a method its own name alone."""
    if isinstance(function, ast.Attribute) and not isinstance(_held(function, frame), _Unknown):
        return _dotted(_held(function, frame), function.attr)
    if isinstance(function, ast.Attribute):
        return function.attr
    if isinstance(function, ast.Name):
        return _dotted(_held(function, frame), function.id)
    return ""


class _Unknown:
    """What an expression stands for that is neither a name nor an attribute of a module."""


def _held(node: ast.expr, frame: FrameType) -> Any:
    """What a name, or a name in a module, stands for; nothing of the user's is run."""
    if isinstance(node, ast.Name):
        for scope in (frame.f_locals, frame.f_globals, vars(builtins)):
            if node.id in scope:
                return scope[node.id]
    if isinstance(node, ast.Attribute):
        owner = _held(node.value, frame)
        if isinstance(owner, ModuleType):
            return vars(owner).get(node.attr, _Unknown())
    return _Unknown()


def _dotted(function: object, name: str) -> str:
    name = getattr(function, "__name__", name)
    for module in (math, cmath):
        if vars(module).get(name, _Unknown) is function:
            return f"{module.__name__}.{name}"
    if getattr(np, name, None) is function:
        return f"numpy.{name}"
    home = getattr(function, "__module__", None)
    return name if home in (None, "builtins") else _of_library(str(home), name)


def elsewhere(what: str) -> TracingError:
    """The error for what threads lose of a record."""
    return TracingError(
        f"{what}, where that tape does not record: run the function there by "
        f"contextvars.copy_context().run, or, where no derivative is wanted, inside of "
        f"`with tracer.pause():`"
    )
