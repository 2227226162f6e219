"""Adam and its kin: steps scaled by running averages of the gradient's moments."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

from tracer.errors import TracerError
from tracer_training.optimizers.first_order import FirstOrder, decayed, lerp
from tracer_training.optimizers.groups import Given
from tracer_training.optimizers.optimizer import accept, several, within

__all__ = ["Adam", "AdamW", "Adamax", "NAdam", "RAdam"]


def check_adam(kind: str, o: SimpleNamespace) -> None:
    within(kind, "lr", o.lr, 0)
    within(kind, "eps", o.eps, 0)
    within(kind, "weight_decay", o.weight_decay, 0)
    for i, beta in enumerate(several(kind, "betas", o.betas, 2)):
        within(kind, f"betas[{i}]", beta, 0, 1)


class Adam(FirstOrder):
    """Adam (Kingma and Ba 2015), with `amsgrad` of Reddi, Kale and Kumar (2018).

        m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2
        p = p - lr m' / (sqrt(v') + eps),  m' = m / (1 - beta1^t),  v' = v / (1 - beta2^t)

    `weight_decay` adds `weight_decay p` to the gradient, or, if it is decoupled, shrinks `p` by
    `1 - lr weight_decay`, as `AdamW` does. `amsgrad` takes the largest `v` so far in place of `v`.
    Mirrors `torch.optim.Adam`.
    """

    def __init__(
        self,
        params: Given,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ):
        accept(self._kind, capturable=capturable, differentiable=differentiable)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def check(self, o):
        check_adam(self._kind, o)

    def initial(self, p, o):
        return {"step": 0, "exp_avg": np.zeros_like(p), "exp_avg_sq": np.zeros_like(p)}

    def averages(self, o):
        return ("max_exp_avg_sq",) if o.amsgrad else ()

    def begin(self, state, p, o):
        t = state["step"] = state["step"] + 1
        beta1, beta2 = o.betas
        return SimpleNamespace(rate=o.lr / (1 - beta1**t), root=math.sqrt(1 - beta2**t))

    def update(self, p, g, s, o, at):
        beta1, beta2 = o.betas
        if o.decoupled_weight_decay:
            if o.weight_decay:
                p *= 1 - o.lr * o.weight_decay
        else:
            g = decayed(g, p, o.weight_decay)
        m, v = s["exp_avg"], s["exp_avg_sq"]
        lerp(m, g, 1 - beta1)
        square = g * g
        square *= 1 - beta2
        v *= beta2
        v += square
        if o.amsgrad:
            v = np.maximum(s["max_exp_avg_sq"], v, out=s["max_exp_avg_sq"])
        scale = np.sqrt(v, out=square)
        scale /= at.root
        scale += o.eps
        step = np.divide(m, scale, out=scale)
        step *= at.rate
        p -= step


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    Mirrors `torch.optim.AdamW`.
    """

    def __init__(
        self,
        params: Given,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            decoupled_weight_decay=True,
        )

    def check(self, o):
        super().check(o)
        if not o.decoupled_weight_decay:
            raise TracerError(
                f"{self._kind} has a decoupled weight decay, and these options are of Adam, which "
                f"has another: use training.Adam"
            )


class Adamax(FirstOrder):
    """Adam with the largest gradient, decayed, in place of the second moment (Kingma and Ba 2015).

        u = max(beta2 u, |g| + eps),  p = p - lr / (1 - beta1^t) m / u

    Mirrors `torch.optim.Adamax`.
    """

    def __init__(
        self,
        params: Given,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ):
        accept(self._kind, capturable=capturable, differentiable=differentiable)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check(self, o):
        check_adam(self._kind, o)

    def initial(self, p, o):
        return {"step": 0, "exp_avg": np.zeros_like(p), "exp_inf": np.zeros_like(p)}

    def begin(self, state, p, o):
        t = state["step"] = state["step"] + 1
        return SimpleNamespace(rate=o.lr / (1 - o.betas[0] ** t))

    def update(self, p, g, s, o, at):
        beta1, beta2 = o.betas
        g = decayed(g, p, o.weight_decay)
        m, u = s["exp_avg"], s["exp_inf"]
        lerp(m, g, 1 - beta1)
        u *= beta2
        np.maximum(u, abs(g) + o.eps, out=u)
        p -= at.rate * m / u


class NAdam(FirstOrder):
    """Adam with Nesterov's momentum (Dozat 2016).

    With `mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2)` and `M_t` the product of the first t:

        p = p - lr ((1 - mu_t) / (1 - M_t) g + mu_{t+1} / (1 - M_{t+1}) m) / (sqrt(v') + eps)

    Mirrors `torch.optim.NAdam`.
    """

    def __init__(
        self,
        params: Given,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ):
        accept(self._kind, capturable=capturable, differentiable=differentiable)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check(self, o):
        check_adam(self._kind, o)
        within(self._kind, "momentum_decay", o.momentum_decay, 0)

    def initial(self, p, o):
        averages = {"exp_avg": np.zeros_like(p), "exp_avg_sq": np.zeros_like(p)}
        return {"step": 0, "mu_product": 1.0, **averages}

    def begin(self, state, p, o):
        t = state["step"] = state["step"] + 1
        mu, following = (
            o.betas[0] * (1 - 0.5 * 0.96 ** (i * o.momentum_decay)) for i in (t, t + 1)
        )
        product = state["mu_product"] = state["mu_product"] * mu
        return SimpleNamespace(
            of_gradient=o.lr * (1 - mu) / (1 - product),
            of_average=o.lr * following / (1 - product * following),
            root=math.sqrt(1 - o.betas[1] ** t),
        )

    def update(self, p, g, s, o, at):
        beta1, beta2 = o.betas
        if o.decoupled_weight_decay:
            p *= 1 - o.lr * o.weight_decay
        else:
            g = decayed(g, p, o.weight_decay)
        m, v = s["exp_avg"], s["exp_avg_sq"]
        lerp(m, g, 1 - beta1)
        v *= beta2
        v += (1 - beta2) * g * g
        scale = np.sqrt(v) / at.root + o.eps
        p -= (at.of_gradient * g + at.of_average * m) / scale


class RAdam(FirstOrder):
    """Adam whose adaptive rate is rectified while its variance is large (Liu et al. 2020).

        rho_t = rho - 2 t beta2^t / (1 - beta2^t),  rho = 2 / (1 - beta2) - 1

    Up to `rho_t = 5` it steps along `m'`; then along `r m' / (sqrt(v') + eps)`, with
    `r^2 = (rho_t - 4) (rho_t - 2) rho / ((rho - 4) (rho - 2) rho_t)`. Mirrors `torch.optim.RAdam`.
    """

    def __init__(
        self,
        params: Given,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ):
        accept(self._kind, capturable=capturable, differentiable=differentiable)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check(self, o):
        check_adam(self._kind, o)

    def initial(self, p, o):
        return {"step": 0, "exp_avg": np.zeros_like(p), "exp_avg_sq": np.zeros_like(p)}

    def begin(self, state, p, o):
        t = state["step"] = state["step"] + 1
        beta1, beta2 = o.betas
        left = 1 - beta2**t
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * t * beta2**t / left
        rectified = None
        if length > 5:
            ratio = (length - 4) * (length - 2) * longest
            rectified = math.sqrt(left * ratio / ((longest - 4) * (longest - 2) * length))
        return SimpleNamespace(rate=o.lr / (1 - beta1**t), rectified=rectified)

    def update(self, p, g, s, o, at):
        beta1, beta2 = o.betas
        if o.decoupled_weight_decay:
            p *= 1 - o.lr * o.weight_decay
        else:
            g = decayed(g, p, o.weight_decay)
        m, v = s["exp_avg"], s["exp_avg_sq"]
        lerp(m, g, 1 - beta1)
        v *= beta2
        v += (1 - beta2) * g * g
        if at.rectified is None:
            p -= at.rate * m
        else:
            p -= at.rate * at.rectified * m / (np.sqrt(v) + o.eps)
