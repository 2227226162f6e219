"""Other names of operators, which programs keep as they were written: `torch.multiply`."""

from __future__ import annotations

from tracer_import.operators.table import OPERATORS, add_operator

#: PyTorch's other name -> the operator that it is
ALIASES = {
    "absolute": "abs",
    "arccos": "acos",
    "arccosh": "acosh",
    "arcsin": "asin",
    "arcsinh": "asinh",
    "arctan": "atan",
    "arctan2": "atan2",
    "arctanh": "atanh",
    "divide": "div",
    "fix": "trunc",
    "ger": "outer",
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "linalg_matmul": "matmul",
    "multiply": "mul",
    "negative": "neg",
    "not_equal": "ne",
    "row_stack": "vstack",
    "special_digamma": "digamma",
    "special_erf": "erf",
    "special_erfc": "erfc",
    "special_exp2": "exp2",
    "special_expit": "sigmoid",
    "special_expm1": "expm1",
    "special_gammaln": "lgamma",
    "special_log1p": "log1p",
    "special_logit": "logit",
    "special_logsumexp": "logsumexp",
    "special_psi": "digamma",
    "special_sinc": "sinc",
    "subtract": "sub",
    "true_divide": "div",
}


def add_aliases() -> None:
    """Make all overloads of operators that are there operators by their other names, too."""
    for alias, name in ALIASES.items():
        for full in [full for full in OPERATORS if full.startswith(f"aten.{name}.")]:
            new = f"aten.{alias}.{full.rpartition('.')[2]}"
            if new not in OPERATORS:
                add_operator(new, OPERATORS[full].function, OPERATORS[full].mode)
