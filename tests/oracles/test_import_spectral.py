"""Programs with Fourier transforms, complex numbers and scans, imported: they are PyTorch's."""

import numpy as np
import pytest

import tracer
import tracer_import

torch = pytest.importorskip("torch")

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]

FUNCTIONS = {
    "rfft": lambda x: torch.fft.rfft(x).abs(),
    "irfft": lambda x: torch.fft.irfft(torch.fft.rfft(x) * torch.fft.rfft(x.flip(1))),
    "irfft of a size": lambda x: torch.fft.irfft(torch.fft.rfft(x), n=7, norm="ortho"),
    "rfft2": lambda x: torch.fft.irfft2(torch.fft.rfft2(x) * 1j, s=(4, 8)),
    "fft2": lambda x: torch.fft.fft2(x).real,
    "fftn": lambda x: torch.fft.fftn(x, norm="ortho").imag,
    "fftn of a size": lambda x: torch.fft.fftn(x, s=(6,), norm="forward").abs(),
    "ifftn": lambda x: torch.fft.ifftn(x + 1j * x**2, dim=(0,)).abs(),
    "hfft": lambda x: torch.fft.hfft(x + 0j),
    "ihfft": lambda x: torch.fft.ihfft(x).abs(),
    "fftshift": lambda x: torch.fft.fftshift(torch.fft.ifft(x)).imag.exp(),
    "ifftshift": lambda x: torch.fft.ifftshift(x, dim=1),
    "view_as_real": lambda x: torch.view_as_real(torch.fft.fft(x)),
    "view_as_complex": lambda x: torch.view_as_complex(torch.stack([x, 2 * x], -1)).abs(),
    "complex": lambda x: (torch.complex(x, x**2).conj() * (1 + 2j)).imag,
    "angle": lambda x: torch.angle(torch.complex(x, x**2)) + torch.angle(x - 0.5),
    "polar": lambda x: torch.polar(x, 3 * x).real,
    "exp": lambda x: torch.imag(torch.exp(1j * x)),
    "filter": lambda x: torch.fft.ifft(torch.fft.fft(x) * torch.exp(2j * x)).real,
    "stft": lambda x: torch.stft(x, 4, return_complex=True, window=torch.hann_window(4)).abs(),
    "stft short": lambda x: torch.stft(
        x, 4, 2, 2, window=torch.ones(2), return_complex=True, normalized=True, onesided=False
    ).abs(),
    "quantile": lambda x: torch.quantile(x, 0.3, dim=1),
    "quantiles": lambda x: torch.quantile(x, x.new_tensor([0.1, 0.8]), dim=0, keepdim=True),
    "quantile of all": lambda x: torch.quantile(x, 0.5),
    "cummax": lambda x: torch.cummax(x, 1)[0],
    "cummin": lambda x: torch.cummin(x, 0)[0],
    "logcumsumexp": lambda x: torch.logcumsumexp(5 * x, 1),
    "nansum": lambda x: torch.where(x > 0.8, torch.nan, x).nansum(1),
    "nanmean": lambda x: torch.where(x > 0.8, torch.nan, x).nanmean(1),
    "trapezoid": lambda x: torch.trapezoid(x, dx=0.5),
    "cumulative_trapezoid": lambda x: torch.cumulative_trapezoid(x, dim=0),
    "matrix_exp": lambda x: torch.matrix_exp(x[:, :4]),
    "cross": lambda x: torch.linalg.cross(x[:, :3], x[:, 1:4]),
    "logaddexp2": lambda x: torch.logaddexp2(x, 2 * x),
    "special": lambda x: torch.special.i0(x) * torch.special.i1e(x) + torch.special.erfcx(x),
    "log_ndtr": lambda x: torch.special.log_ndtr(-x) + torch.special.ndtr(x),
}


class Function(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.weight = torch.nn.Parameter(torch.tensor([1.3]))

    def forward(self, x):
        return self.function(x * self.weight)


def gradient_of(model, x):
    with tracer.Tape() as tape:
        out = model(x)
        loss = np.sum(np.asarray(SLOPES(out.shape), out.dtype) * out)
    return out.data, tape.backward(loss)["grad"]["weight"]


def SLOPES(shape):
    return np.random.default_rng(1).standard_normal(tuple(shape))


@pytest.mark.parametrize("dispatched", [False, True], ids=["written", "dispatched"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_program_is_pytorchs(name, dispatched, tmp_path):
    model = Function(FUNCTIONS[name])
    x = torch.rand(4, 8, generator=torch.Generator().manual_seed(0))
    program = torch.export.export(model, (x,), strict=False)
    if dispatched:
        program = program.run_decompositions()
    torch.export.save(program, tmp_path / "program.pt2")
    wanted = model(x)
    (wanted * torch.tensor(SLOPES(wanted.shape), dtype=wanted.dtype)).sum().backward()
    imported = tracer_import.load(tmp_path / "program.pt2")
    single, slope = gradient_of(imported, x.numpy())
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, wanted.detach().numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(slope, model.weight.grad.numpy(), rtol=1e-3, atol=1e-3)
    double, _ = gradient_of(imported.double(), x.numpy().astype(np.float64))
    assert double.dtype == np.float64
    np.testing.assert_allclose(double, single, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("function", [torch.cummax, torch.cummin])
def test_where_extremes_were_last(function):
    x = torch.tensor([[1.0, 3, 3, 2, 5, float("nan"), 7], [2, 2, 1, 1, 0, 0, 0]])
    ours = tracer_import.operators.OPERATORS[f"aten.{function.__name__}.default"].function
    for found, wanted in zip(ours(x.numpy(), 1), function(x, 1), strict=True):
        np.testing.assert_array_equal(found, wanted.numpy())


def test_bfloat16_within_a_program_is_said(tmp_path, capsys):
    model = Function(lambda x: (x.to(torch.bfloat16) * 2).float() + x.bfloat16().float())
    program = torch.export.export(model, (torch.ones(2),))
    torch.export.save(program, tmp_path / "program.pt2")
    imported = tracer_import.load(tmp_path / "program.pt2")
    said = capsys.readouterr().err
    assert "2 operators make bfloat16, and compute in float32" in said
    assert imported(np.ones(2, np.float32)).dtype == np.float32
