"""Parameters of estimators, each written once.

A parameter is an annotated class attribute. From it come its place in the signature, its default,
scikit-learn's check of its value and its entry in the docstring::

    @takes_parameters
    class Penalised:
        _: KW_ONLY
        alpha: float = parameter(
            0.0001, Interval(Real, 0, None, closed="left"), "Strength of the penalty."
        )

    @takes_parameters
    class Ridge(Penalised, BaseEstimator):
        '''Fit a line.

Parameters
----------
        {parameters}
        '''

A subclass inherits the parameters, may state one anew where the default differs, and adds its own
behind them; behind keyword-only ones they are keyword-only too. A class that takes a few parameters
of another's states each as `same_as` in that class.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, make_dataclass, replace
from numbers import Integral
from typing import Any, Literal, TypeVar, dataclass_transform, get_args, get_type_hints

from sklearn.utils._param_validation import Interval, Options, StrOptions

Group = Literal["network", "training", "stopping", "regularisation", "machine"]
Estimator = TypeVar("Estimator", bound=type)

#: Where a class docstring has the entries of the parameters, and where their names by group.
_PLACEHOLDER = re.compile(r"^([ \t]*)\{parameters\}$", re.MULTILINE)
_GROUPS = re.compile(r"^([ \t]*)\{groups\}$", re.MULTILINE)
_LINE_LENGTH = 100

_IN_WORDS = {
    "boolean": "bool",
    "random_state": "int, RandomState instance or None",
    "verbose": "bool or int",
}


@dataclass(frozen=True)
class Parameter:
    """One parameter of an estimator.

    Attributes
    ----------
    default : object
        What it is unless it is given.
    constraints : tuple
        Values that it may have, as scikit-learn's `_parameter_constraints` states them.
    text : str
        What it does: a paragraph of the docstring.
    group : str
        What it is about.
    type_text : str or None
        Its type in the docstring; None where the constraints say it.
    annotation : type
        Its type in the signature.
    keyword_only : bool
        Whether its name must be given.
    """

    default: Any
    constraints: tuple[Any, ...]
    text: str
    group: Group
    type_text: str | None = None
    annotation: Any = Any
    keyword_only: bool = False

    def entry(self, name: str) -> str:
        """Write the entry of a numpydoc section."""
        type_text = self.type_text or _in_words(self.constraints)
        return f"{name} : {type_text}, default={_literal(self.default)}"


def parameter(
    default: Any,
    constraints: Any,
    text: str,
    *,
    group: Group = "training",
    type_text: str | None = None,
) -> Any:
    """State a parameter in the body of a class that `takes_parameters`.

    Parameters
    ----------
    default : object
        What it is unless it is given; immutable.
    constraints : constraint or list of constraints
        As in scikit-learn's `_parameter_constraints`; a list where one of several must hold.
    text : str
        What it does.
    group : str, default="training"
        What it is about.
    type_text : str, default=None
        Its type in the docstring, where the constraints do not say enough.
    """
    alternatives = tuple(constraints) if isinstance(constraints, list) else (constraints,)
    return Parameter(default, alternatives, text, group, type_text)


def same_as(source: type, name: str, **changes: Any) -> Any:
    """State a parameter that is another class's too, but for what `changes` name."""
    return replace(parameters_of(source)[name], **changes)


def one_of(*names: str) -> StrOptions:
    """Allow these strings, which messages and docstrings then name in this order."""
    return StrOptions(dict.fromkeys(names).keys())


def parameters_of(cls: type) -> dict[str, Parameter]:
    """Parameters of a class, in the order of its signature."""
    return dict(getattr(cls, "_parameters", {}))


@dataclass_transform(eq_default=False)
def takes_parameters(cls: Estimator) -> Estimator:
    """Give a class what its parameters and the inherited ones ask for.

    That is `__init__`, `_parameter_constraints` and, in place of a line ``{parameters}``, the
    entries of the docstring; in place of a line ``{groups}``, their names by what they are about.
    """
    parameters: dict[str, Parameter] = {}
    for base in reversed(cls.__mro__[1:]):
        parameters.update(vars(base).get("_parameters", {}))
    types = get_type_hints(cls)
    keyword_only = any(each.keyword_only for each in parameters.values())
    for name in inspect.get_annotations(cls):
        keyword_only = keyword_only or types[name] is KW_ONLY
        own = vars(cls).get(name)
        if isinstance(own, Parameter):
            # An attribute of the class would look like a public attribute or method of it.
            delattr(cls, name)
            by_name = parameters[name].keyword_only if name in parameters else keyword_only
            parameters[name] = replace(own, annotation=types[name], keyword_only=by_name)
    constraints = {name: list(each.constraints) for name, each in parameters.items()}
    members = {
        "_parameters": parameters,
        "_parameter_constraints": getattr(cls, "_parameter_constraints", {}) | constraints,
        "__init__": _init(cls, parameters),
        "__doc__": _documented(cls.__doc__, parameters),
    }
    for name, member in members.items():
        setattr(cls, name, member)
    return cls


def _init(cls: type, parameters: dict[str, Parameter]) -> Any:
    """Make the `__init__` that stores each parameter under its name.

    A dataclass writes it, and is dropped: an estimator that were one itself would mislead Dask,
    which tells dataclasses apart by their fields, and so not two fitted models.
    """
    fields = [
        (name, each.annotation, field(default=each.default, kw_only=each.keyword_only))
        for name, each in parameters.items()
    ]
    init = vars(make_dataclass(cls.__name__, fields, repr=False, eq=False))["__init__"]
    init.__qualname__, init.__module__ = f"{cls.__qualname__}.__init__", cls.__module__
    return init


def _documented(docstring: str | None, parameters: dict[str, Parameter]) -> str | None:
    """Write the entries of the parameters to where the docstring has its placeholder."""
    found = _PLACEHOLDER.search(docstring or "")
    if docstring is None or found is None:
        return docstring
    indent = found[1]
    lines: list[str] = []
    for name, each in parameters.items():
        lines.append(indent + each.entry(name))
        lines += textwrap.wrap(
            each.text,
            _LINE_LENGTH,
            initial_indent=indent + "    ",
            subsequent_indent=indent + "    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    docstring = docstring[: found.start()] + "\n".join(lines) + docstring[found.end() :]
    return _GROUPS.sub(lambda place: _by_group(place[1], parameters), docstring)


def _by_group(indent: str, parameters: dict[str, Parameter]) -> str:
    """Write a line of names for each group, as a list."""
    lines: list[str] = []
    for group in get_args(Group):
        names = ", ".join(f"`{name}`" for name, each in parameters.items() if each.group == group)
        if names:
            lines += textwrap.wrap(
                f"- {group}: {names}",
                _LINE_LENGTH,
                initial_indent=indent,
                subsequent_indent=indent + "  ",
            )
    return "\n".join(lines)


def _in_words(constraints: Sequence[Any]) -> str:
    """Say which values satisfy the constraints, numbers first."""
    words = sorted(map(_word, constraints), key=lambda word: word not in ("int", "float"))
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _word(constraint: Any) -> str:
    """Say which values satisfy one constraint."""
    if isinstance(constraint, StrOptions):
        names = [_literal(name) for name in constraint.options]
        return names[0] if len(names) == 1 else "{" + ", ".join(names) + "}"
    if isinstance(constraint, Options):
        return ", ".join(map(_literal, constraint.options))
    if isinstance(constraint, Interval):
        return "int" if constraint.type is Integral else "float"
    return _IN_WORDS.get(str(constraint), str(constraint))


def _literal(value: Any) -> str:
    """Write a value as code has it: strings in double quotes, 1e-8 for 1e-08."""
    if isinstance(value, str):
        return f'"{value}"'
    return re.sub(r"e-0(?=\d)", "e-", repr(value))
