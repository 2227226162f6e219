"""`scipy.fft` for tensors: the transforms that NumPy has, too, which SciPy hands over to nobody.

`overwrite_x`, `workers` and `plan` say how SciPy computes, and change no value.
"""

from tracer.operations import fourier
from tracer.record import hints

__all__ = (
    "fft ifft rfft irfft hfft ihfft fft2 ifft2 rfft2 irfft2 fftn ifftn rfftn irfftn fftshift "
    "ifftshift"
).split()


def _along(name):
    of_numpy = getattr(fourier, name)

    def transform(x, n=None, axis=-1, norm=None, overwrite_x=False, workers=None, *, plan=None):
        return of_numpy(x, n, axis, norm)

    return transform


def _several(name, default):
    of_numpy = getattr(fourier, name)

    def transform(
        x, s=None, axes=default, norm=None, overwrite_x=False, workers=None, *, plan=None
    ):
        s = (s,) if isinstance(s, int) else s
        return of_numpy(x, s, (axes,) if isinstance(axes, int) else axes, norm)

    return transform


def _named(name):
    """The function of this name, with the arguments that SciPy's has."""
    if name.endswith("shift"):
        return getattr(fourier, name)
    if name[-1] in "2n":
        return _several(name, (-2, -1) if name[-1] == "2" else None)
    return _along(name)


for _name in __all__:
    _function = globals()[_name] = _named(_name)
    _function.__name__ = _function.__qualname__ = _name
    _function.__doc__ = f"`scipy.fft.{_name}`, with its derivatives."


def __getattr__(name):
    way = None if name.startswith("_") else "scipy.fft has it for arrays, as of tensor.data"
    raise hints.missing("module 'tracer.scipy.fft'", name, way, __all__)
