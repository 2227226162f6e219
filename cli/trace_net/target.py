"""TARGET: the model that a command works on, as written on the command line, and as loaded.

The conventions, for a module with or without an attribute after the colon:

- model: the attribute; else `build_model()`; else `model`; else the only model in the module.
- inputs: `--input`; else `example_inputs`, a function or a value: an array, a tuple or list of
  arrays, or a dict of keyword arguments.
- `loss(output, *targets)`, optional, with `targets` given in the same forms as `example_inputs`.

A file of another library that an importer reads, as a `.pt2` of PyTorch's, holds a model and shapes
of inputs. A model of another library, as a `torch.nn.Module`, is converted, and so is its loss.

An attribute may be an object that has a `model` and is none: it defines the rest, in place of the
module.
"""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import operator
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from trace_net import imported
from trace_net.errors import ModelError, UsageError
from trace_net.usercode import shown, user_code
from tracer.errors import suggestion

if TYPE_CHECKING:
    import numpy as np

    from tracer.extend import Importer

#: samples of `datasets()` that are recorded where a file has no example inputs
SAMPLES = 8
FORMS = "write path.py, path.py:attr, path.py:factory(k=1), pkg.module:attr or model.pt2"
OF_TORCH = (
    "install PyTorch, or give a program of it, model.pt2, that torch.export.save wrote where it is "
    "installed; or write the model with tracer_layers, whose layers and losses have the names and "
    "arguments of torch.nn: `import tracer_layers as nn`"
)
FILE = re.compile(r"(?P<where>.+?\.py)(?::(?P<what>.*))?", re.DOTALL)
MODULE = re.compile(r"(?P<where>[^\W\d]\w*(?:\.[^\W\d]\w*)*):(?P<what>.*)", re.DOTALL)


@dataclass(frozen=True)
class Target:
    """A parsed TARGET. `expression` is what follows the colon, `attribute` the name in it."""

    path: Path | None = None
    module: str = ""
    expression: str = ""
    attribute: str = ""
    called: bool = False
    arguments: tuple[Any, ...] = ()
    keywords: dict[str, Any] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """The file or module, for messages."""
        return shown(self.path) if self.path else self.module

    @property
    def stem(self) -> str:
        """What a file made from this target is called, without its suffix."""
        return self.path.stem if self.path else self.module.rpartition(".")[2]


@dataclass(frozen=True)
class Arguments:
    """Positional and keyword arguments of a call."""

    positional: tuple[Any, ...] = ()
    keywords: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """A loaded target: the model, what it is called with, and how each was chosen.

    `definitions` is what defines loss, inputs and more: the module, or an object in it.
    """

    target: Target
    model: Callable[..., Any]
    inputs: Arguments
    loss: Callable[..., Any] | None
    targets: Arguments
    choices: dict[str, str]
    module: ModuleType
    definitions: object


def parse_target(text: str) -> Target:
    """The parts of TARGET. Arguments of a factory are literals, parsed and never evaluated.

    Raises `UsageError` where the text has none of the forms, or there is no such file.
    """
    match = FILE.fullmatch(text) or MODULE.fullmatch(text)
    if match is None and imported.is_program(text):
        if not Path(text).is_file():
            raise UsageError(f"no file {text!r}", hint=_nearby(Path(text)))
        return Target(Path(text))
    if match is None:
        kind = "is a folder" if Path(text).is_dir() else "has none of the forms of TARGET"
        raise UsageError(f"{text!r} {kind}", hint=FORMS)
    path = Path(match["where"]) if match.re is FILE else None
    if path is not None and not path.is_file():
        raise UsageError(f"no file {match['where']!r}", hint=_nearby(path))
    module = "" if path else match["where"]
    if match["what"] is None:
        return Target(path)
    expression = match["what"].strip()
    return Target(path, module, expression, *_parse_attribute(expression))


def load(target: Target, given: dict[str, np.ndarray], seed: int = 0) -> Subject:
    """Run the user's file and find model, inputs and loss in it.

    Random initial values are those of the seed in every run, unless the file seeds them itself.
    Raises `ModelError` where the file or its functions fail, `UsageError` where something is not
    found.
    """
    import tracer

    tracer.plugins.load()
    tracer.seed(seed)
    reader = imported.reader_of(target.path)
    if reader is not None:
        return _load_program(target, reader, given)
    module = _import(target)
    choices: dict[str, str] = {}
    model, definitions = _find_model(target, module, bool(given), choices)
    sample = None if given else _of_datasets(target, definitions, choices)
    inputs = sample[0] if sample else _find_inputs(target, definitions, model, given, choices)
    loss = getattr(definitions, "loss", None)
    if not callable(loss):
        loss, targets = None, Arguments()
    else:
        choices["loss"] = "loss"
        own = hasattr(definitions, "targets") or sample is None
        targets = _value(target, definitions, "targets", choices) if own else sample[1]
    found = Subject(target, model, inputs, loss, targets, choices, module, definitions)
    importer = imported.converter_of(model)
    return found if importer is None else _converted(found, importer)


def _load_program(target: Target, reader: Importer, given: dict[str, np.ndarray]) -> Subject:
    """The model in a file that holds nothing else, with inputs of its own shapes."""
    assert target.path is not None
    model = imported.read(reader, target.path, target.where)
    choices = {"model": f"the program of {target.where}"}
    if given:
        choices["inputs"] = "--input " + ", ".join(given)
        inputs = _by_signature(model, given)
    else:
        choices["inputs"] = "made of the program's shapes"
        inputs = Arguments(*reader.inputs(model))
    module = ModuleType(target.stem)
    return Subject(target, model, inputs, None, Arguments(), choices, module, module)


def _converted(subject: Subject, importer: Importer) -> Subject:
    """A model of another library as one of this, called with arrays; so is its loss."""
    where, name = subject.target.where, subject.choices["model"]
    with user_code(f"{name} of {where}, a model of {importer.package}"):
        inputs, targets = (
            Arguments(importer.arrays(each.positional), importer.arrays(each.keywords))
            for each in (subject.inputs, subject.targets)
        )
        model = importer.convert(subject.model, inputs.positional, inputs.keywords)
        loss = subject.loss
        if loss is not None:
            output = copy.deepcopy(model)(*inputs.positional, **inputs.keywords)
            loss = imported.converted_loss(importer, loss, output, targets.positional)
    choices = {**subject.choices, "model": f"{name}, a model of {importer.package}"}
    return replace(subject, model=model, inputs=inputs, targets=targets, loss=loss, choices=choices)


def with_arguments(subject: Subject, arguments: Mapping[str, object]) -> str:
    """The text of a TARGET whose factory is called with these arguments, too.

    Raises `UsageError` where it names a model and no function that makes one, or that does not take
    them.
    """
    target = subject.target
    name = target.attribute or "build_model"
    try:
        factory = operator.attrgetter(name)(subject.module)
    except AttributeError:
        factory = None
    if not (target.called or inspect.isroutine(factory)):
        what = target.attribute or "the model"
        raise UsageError(
            f"{what} of {target.where} takes no arguments, and {', '.join(arguments)} is given",
            hint="write a function that makes it, and name it as path.py:factory()",
        )
    keywords = {**target.keywords, **arguments}
    signature = inspect.signature(factory)
    try:
        signature.bind_partial(*target.arguments, **keywords)
    except TypeError as error:
        takes = list(signature.parameters)
        unknown = next((key for key in arguments if key not in takes), "")
        raise UsageError(
            f"{name} of {target.where}: {error}.{suggestion(unknown, takes)}",
            hint=f"it takes {', '.join(takes) or 'no arguments'}",
        ) from None
    written = [repr(value) for value in target.arguments]
    written += [f"{key}={value!r}" for key, value in keywords.items()]
    return f"{target.path or target.module}:{name}({', '.join(written)})"


def _parse_attribute(text: str) -> tuple[str, bool, tuple[Any, ...], dict[str, Any]]:
    """Attribute, whether it is called, and the call's arguments."""
    try:
        parsed = ast.parse(text, mode="eval").body
        name = parsed.func if isinstance(parsed, ast.Call) else parsed
        attribute = _dotted(name)
        if not isinstance(parsed, ast.Call):
            return attribute, False, (), {}
        arguments = tuple(_literal(argument) for argument in parsed.args)
        keywords = {}
        for keyword in parsed.keywords:
            if keyword.arg is None:
                raise ValueError("** is not a literal")
            keywords[keyword.arg] = _literal(keyword.value)
        return attribute, True, arguments, keywords
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise UsageError(f"cannot read {text!r} in TARGET: {reason}", hint=FORMS) from error


def _dotted(name: ast.expr) -> str:
    if isinstance(name, ast.Name):
        return name.id
    if isinstance(name, ast.Attribute):
        return f"{_dotted(name.value)}.{name.attr}"
    raise ValueError(f"expected a name, got {ast.unparse(name)}")


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(
            f"arguments are literals (numbers, strings, tuples, lists, dicts, True, False, None), "
            f"got {ast.unparse(node)}"
        ) from None


def _nearby(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder {shown(folder)!r} either"
    found = suggestion(path.name, [p.name for p in folder.glob("*.py")]).strip()
    return found or FORMS


def _import(target: Target) -> ModuleType:
    """The user's module, run with its own folder (or the current one) first on `sys.path`."""
    folder = target.path.resolve().parent if target.path else Path.cwd()
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    sys.argv = [target.where]  # for a file that reads its arguments: there are none
    if target.path is None:
        return _import_module(target.module)
    path = target.path.resolve()
    module = ModuleType(f"trace_net_target_{path.stem}")
    module.__file__, module.__package__ = str(path), ""
    sys.modules[module.__name__] = module  # dataclasses and pickles look their module up by name
    try:
        with user_code(f"running {target.where}"):
            exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), vars(module))
    except ModelError as error:
        error.hint = _way_out(error.__cause__, path) or error.hint
        raise
    return module


def _way_out(cause: BaseException | None, path: Path) -> str:
    """What helps where a file cannot be run by itself; empty where nothing is known."""
    if isinstance(cause, ModuleNotFoundError) and (cause.name or "").partition(".")[0] == "torch":
        return OF_TORCH
    if isinstance(cause, ImportError) and "relative import" in str(cause):
        folder, parts = path.parent, [path.stem]
        while (folder / "__init__.py").is_file() or len(parts) == 1:
            parts.insert(0, folder.name)
            folder = folder.parent
        return (
            f"the file is part of a package: name it as a module, {'.'.join(parts)}:NAME, in the "
            f"folder {shown(folder)}"
        )
    return ""


def _import_module(name: str) -> ModuleType:
    try:
        with user_code(f"importing {name}"):
            return importlib.import_module(name)
    except Exception as error:
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError) and name.startswith(cause.name or "?"):
            raise UsageError(
                f"no module {cause.name!r}",
                hint="it must be importable from the current folder, or installed",
            ) from error
        raise


def _find_model(
    target: Target, module: ModuleType, has_inputs: bool, choices: dict[str, str]
) -> tuple[Any, object]:
    """The model, and what defines the rest: the module, or what holds the model in it."""
    definitions: object = module
    if target.attribute:
        model = _attribute(target, module)
        choices["model"] = target.expression
        if target.called:
            with user_code(f"{choices['model']} of {target.where}"):
                model = model(*target.arguments, **target.keywords)
        elif _takes_nothing(model) or (not has_inputs and _makes_one(model, module)):
            choices["model"] = f"{target.expression}()"
            with user_code(f"{choices['model']} of {target.where}"):
                model = model()
        if hasattr(model, "model") and not callable(model):
            model, definitions = model.model, model
            choices["model"] += ".model"
    elif callable(factory := getattr(module, "build_model", None)):
        choices["model"] = "build_model()"
        with user_code(f"build_model() of {target.where}"):
            model = factory()
    elif hasattr(module, "model"):
        choices["model"] = "model"
        model = module.model
    else:
        name, model = _only_model(target, module)
        choices["model"] = name
    if _is_of_torch(model) and imported.converter_of(model) is None:
        raise UsageError(
            f"{choices['model']} of {target.where} is a module of PyTorch, which is not traced",
            hint=OF_TORCH,
        )
    if isinstance(model, type) or not callable(model) or _takes_nothing(model):
        raise UsageError(
            f"{choices['model']} of {target.where} is {_describe(model)}, not a model",
            hint="a model is called with the inputs: name one, or write a class or a factory with "
            "parentheses, as in path.py:Net(width=8)",
        )
    return model, definitions


def _attribute(target: Target, module: ModuleType) -> Any:
    value: Any = module
    for part in target.attribute.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            raise UsageError(
                f"{target.where} has no {target.attribute!r}."
                f"{suggestion(part, [n for n in dir(value) if not n.startswith('_')])}",
                hint=_offer(target, module),
            ) from None
    return value


def _only_model(target: Target, module: ModuleType) -> tuple[str, Any]:
    """The one object with parameters in the module; `UsageError` for none or several."""
    found = dict(_models(module))
    if len({id(model) for model in found.values()}) == 1:
        return next(iter(found.items()))
    if found:
        raise UsageError(
            f"{target.where} holds several models: {', '.join(found)}",
            hint=f"name one, as in {target.where}:{next(iter(found))}",
        )
    raise UsageError(f"{target.where} holds no model", hint=_offer(target, module))


def _models(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Objects that can be called and have parameters, under the names that the module gives."""
    for name, value in vars(module).items():
        if (
            not name.startswith("_")
            and not isinstance(value, type | ModuleType)
            and callable(value)
            and hasattr(value, "named_parameters")
        ):
            yield name, value


def _offer(target: Target, module: ModuleType) -> str:
    functions = [
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        and value.__module__ == module.__name__
        and name not in ("example_inputs", "targets", "loss")
        and not name.startswith("_")
    ]
    names = [*dict(_models(module)), *functions]
    define = "define `model` or `build_model()`"
    return f"{define}, or name one of {', '.join(names)}" if names else f"{define} in it"


def _find_inputs(
    target: Target,
    definitions: object,
    model: Any,
    given: dict[str, np.ndarray],
    choices: dict[str, str],
) -> Arguments:
    if given:
        choices["inputs"] = "--input " + ", ".join(given)
        return _by_signature(model, given)
    if not hasattr(definitions, "example_inputs"):
        raise UsageError(
            f"{target.where} has no `example_inputs`",
            hint="define it beside the model, or a function datasets() that returns data sets, or "
            "give inputs, as in --input x=f32[32,10]",
        )
    return _value(target, definitions, "example_inputs", choices, key="inputs")


def _of_datasets(
    target: Target, definitions: object, choices: dict[str, str]
) -> tuple[Arguments, Arguments] | None:
    """Inputs and targets that are the first samples to train on, of a file that has only these."""
    datasets = getattr(definitions, "datasets", None)
    if hasattr(definitions, "example_inputs") or not callable(datasets):
        return None
    with user_code(f"datasets() of {target.where}"):
        found = datasets()
        train = found[0] if isinstance(found, tuple | list) else found
        train = getattr(train, "dataset", train)  # of a loader
        batch = train[: min(len(train), SAMPLES)]
    choices["inputs"] = f"the first {len(batch[-1])} samples of datasets()"
    return Arguments(tuple(batch[:-1])), Arguments((batch[-1],))


def _by_signature(model: Any, given: dict[str, np.ndarray]) -> Arguments:
    """Arrays by keyword where the model's call names them, else by position.

    Raises `UsageError` for a name that is not known, unless there are as many as arguments left.
    """
    names = parameter_names(model)
    unknown = [name for name in given if name not in names]
    left = [name for name in names if name not in given]
    if unknown and names and len(unknown) != len(left):
        raise UsageError(
            f"--input gives {unknown[0]!r}, and the model takes {', '.join(names)}."
            f"{suggestion(unknown[0], names)}",
            hint=f"write --input {names[0]}=...",
        )
    keywords = {name: array for name, array in given.items() if name in names}
    positional = tuple(array for name, array in given.items() if name not in names)
    return Arguments(positional, keywords)


def parameter_names(model: Any) -> list[str]:
    """The names of the arguments that a model's call takes; empty where they are not known."""
    if (names := getattr(model, "input_names", None)) is not None:
        return list(names)
    try:
        parameters = inspect.signature(getattr(model, "forward", model)).parameters.values()
    except (TypeError, ValueError):
        return []
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in parameters if p.kind in kinds]


def _value(
    target: Target, definitions: object, name: str, choices: dict[str, str], key: str = ""
) -> Arguments:
    """`example_inputs` or `targets`: called if it is a function, and sorted into arguments."""
    value = getattr(definitions, name, ())
    if hasattr(definitions, name):
        choices[key or name] = f"{name}()" if inspect.isroutine(value) else name
    if inspect.isroutine(value):
        with user_code(f"{name}() of {target.where}"):
            value = value()
    if isinstance(value, dict):
        return Arguments(keywords=value)
    return Arguments(tuple(value) if isinstance(value, tuple | list) else (value,))


def _is_of_torch(model: object) -> bool:
    kind = model if isinstance(model, type) else type(model)
    return any(base.__module__.partition(".")[0] == "torch" for base in kind.__mro__)


def _takes_nothing(model: object) -> bool:
    return inspect.isfunction(model) and not inspect.signature(model).parameters


def _makes_one(function: object, module: ModuleType) -> bool:
    """Whether a function makes a model: it may be called with nothing, and no inputs are there."""
    if not inspect.isfunction(function) or hasattr(module, "example_inputs"):
        return False
    if hasattr(module, "datasets"):
        return False
    needed = (p.default is p.empty for p in inspect.signature(function).parameters.values())
    return not any(needed)


def _describe(value: object) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if inspect.isfunction(value):
        return "a function without parameters"
    return f"of type {type(value).__name__}"
