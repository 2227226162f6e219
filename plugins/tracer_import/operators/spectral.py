"""Complex numbers and Fourier transforms, as `torch.fft` has them and as they are dispatched."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import numpy as np

from tracer.extend import DType, TensorLike, raw
from tracer_import.operators.context import default_dtype, like, made
from tracer_import.operators.creation import Ignored
from tracer_import.operators.scans import Axes
from tracer_import.operators.table import add_operator, operator

# -- complex numbers --------------------------------------------------------------------------


def conjugate(self: TensorLike) -> TensorLike:
    """The complex conjugate."""
    return np.conj(self)


for _name in ("_conj.default", "conj.default", "_conj_physical.default", "conj_physical.default"):
    add_operator(_name, conjugate)


@operator("angle.default")
def angle(self: TensorLike) -> TensorLike:
    """The angle of complex numbers; of real ones pi where they are negative."""
    return np.angle(self)


@operator("view_as_real.default")
def real_pairs(self: TensorLike) -> TensorLike:
    """Real and imaginary part along a new last axis."""
    return np.stack((np.real(self), np.imag(self)), axis=-1)  # type: ignore[list-item,arg-type]


@operator("view_as_complex.default")
def complex_of_pairs(self: TensorLike) -> TensorLike:
    """Complex numbers of the two parts along the last axis."""
    return self[..., 0] + 1j * self[..., 1]


@operator("complex.default")
def complex_of_parts(real: TensorLike, imag: TensorLike) -> TensorLike:
    """Complex numbers of their parts."""
    return real + 1j * imag


@operator("polar.default")
def polar(abs: TensorLike, angle: TensorLike) -> TensorLike:
    """Complex numbers of their sizes and angles."""
    return abs * np.cos(angle) + 1j * (abs * np.sin(angle))


# -- transforms as they are dispatched --------------------------------------------------------

#: NumPy's names of what a transform is divided by
Norm: TypeAlias = Literal["backward", "ortho", "forward"]
#: ATen's number of a normalisation -> NumPy's name of it, forward and backward
FORWARD: dict[int, Norm] = {0: "backward", 1: "ortho", 2: "forward"}
BACKWARD: dict[int, Norm] = {0: "forward", 1: "ortho", 2: "backward"}


@operator("_fft_r2c.default")
def of_real(self: TensorLike, dim: Sequence[int], normalization: int, onesided: bool) -> TensorLike:
    """The transform of real numbers, or the half of it that tells the other."""
    transform = np.fft.rfftn if onesided else np.fft.fftn
    return transform(self, axes=tuple(dim), norm=FORWARD[normalization])


@operator("_fft_c2r.default")
def to_real(
    self: TensorLike, dim: Sequence[int], normalization: int, last_dim_size: int
) -> TensorLike:
    """The way back to real numbers, of which the last axis has the size given."""
    sizes = [*(self.shape[d] for d in dim[:-1]), last_dim_size]
    return np.fft.irfftn(self, s=sizes, axes=tuple(dim), norm=BACKWARD[normalization])


@operator("_fft_c2c.default")
def of_complex(
    self: TensorLike, dim: Sequence[int], normalization: int, forward: bool
) -> TensorLike:
    """The transform of complex numbers, or the way back."""
    if not dim:
        return self
    if forward:
        return np.fft.fftn(self, axes=tuple(dim), norm=FORWARD[normalization])
    return np.fft.ifftn(self, axes=tuple(dim), norm=BACKWARD[normalization])


# -- transforms as they are written -----------------------------------------------------------


def _along_one(transform: Callable[..., TensorLike]) -> Callable[..., TensorLike]:
    def function(
        self: TensorLike, n: int | None = None, dim: int = -1, norm: str | None = None
    ) -> TensorLike:
        return transform(self, n, dim, norm)

    return function


def _along_two(transform: Callable[..., TensorLike]) -> Callable[..., TensorLike]:
    def function(
        self: TensorLike,
        s: Sequence[int] | None = None,
        dim: Sequence[int] = (-2, -1),
        norm: str | None = None,
    ) -> TensorLike:
        return transform(self, s, tuple(dim), norm)

    return function


def _along_several(transform: Callable[..., TensorLike]) -> Callable[..., TensorLike]:
    def function(
        self: TensorLike,
        s: Sequence[int] | None = None,
        dim: Sequence[int] | None = None,
        norm: str | None = None,
    ) -> TensorLike:
        count = self.ndim if s is None else len(s)
        axes = tuple(range(-count, 0)) if dim is None else tuple(dim)
        return transform(self, s, axes, norm)

    return function


for _name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft"):
    add_operator(f"fft_{_name}.default", _along_one(getattr(np.fft, _name)))
for _name in ("fft2", "ifft2", "rfft2", "irfft2"):
    add_operator(f"fft_{_name}.default", _along_two(getattr(np.fft, _name)))
for _name in ("fftn", "ifftn", "rfftn", "irfftn"):
    add_operator(f"fft_{_name}.default", _along_several(getattr(np.fft, _name)))


@operator("fft_fftshift.default")
def shifted(self: TensorLike, dim: Axes = None) -> TensorLike:
    """The frequency zero in the middle."""
    return np.fft.fftshift(self, dim)


@operator("fft_ifftshift.default")
def shifted_back(self: TensorLike, dim: Axes = None) -> TensorLike:
    """The frequency zero first."""
    return np.fft.ifftshift(self, dim)


@operator("hann_window.default", "hann_window.periodic")
def hann_window(
    window_length: int, periodic: bool = True, dtype: DType | None = None, **place: Ignored
) -> TensorLike:
    """Half a cosine less than one half, over the whole of a window or all but a last point."""
    points = np.arange(window_length) / max(window_length - (not periodic), 1)
    return made((0.5 - 0.5 * np.cos(2 * np.pi * points)).astype(default_dtype(dtype)))


@operator("stft.default")
def of_windows(
    self: TensorLike,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: TensorLike | None = None,
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> TensorLike:
    """Transforms `[..., frequency, frame]` of windows of the last axis."""
    hop = n_fft // 4 if hop_length is None else hop_length
    starts = np.arange(0, self.shape[-1] - n_fft + 1, hop)
    frames = self[..., like(starts[:, None] + np.arange(n_fft), self)]
    width = n_fft if win_length is None else win_length
    if window is not None or width < n_fft:
        left = (n_fft - width) // 2
        given = np.ones(width, self.dtype) if window is None else window
        frames = frames * np.pad(given, (left, n_fft - width - left))
    whole = raw(self).dtype.kind == "c" if onesided is None else not onesided
    found = (np.fft.fft if whole else np.fft.rfft)(frames)
    if normalized:
        found = found / math.sqrt(n_fft)
    found = np.swapaxes(found, -1, -2)
    return real_pairs(found) if return_complex is False else found
