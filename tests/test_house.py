"""How the package is laid out: imports run downwards only, and files and signatures stay short.

The folders of the package have ranks. A module imports from folders of a lower rank, and from its
own.
"""

import ast
from pathlib import Path

import pytest

import fastmlp

PACKAGE = Path(fastmlp.__file__).parent

RANKS = {
    "warmup": 8,
    "fastmlp": 7,  # the public names
    "streaming": 6,
    "dask": 6,
    "onnx": 6,
    "preprocessing": 6,
    "estimators": 5,
    "export": 4,
    "inspection": 4,
    "training": 3,
    "network": 2,
    "data": 1,
    "kernels": 0,
    "runtime": -1,
    "version": -2,
}

MOST_LINES = 400
MOST_PARAMETERS = 8

#: Files that are longer, until what they hold is drawn anew.
LONG_FILES: set[str] = set()

#: Folders and files of functions whose arguments are the operands of the register tile.
OF_THE_TILE = ("kernels/simd/", "kernels/product.py")

#: Formulas, whose arguments are their symbols.
FORMULAS = {"kernels/updates.py": {"adam_formula"}}


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path):
    return path.relative_to(PACKAGE).as_posix()


def folder_of(module):
    """Folder that a module lies in, by its dotted name or by parts of its path."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def dotted(path):
    parts = [PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(name):
    """Say whether this is a module or folder of the package, and not a name in its `__init__`."""
    return (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()


def imports_of(tree, module, *, is_package=False):
    """Dotted names of the modules of this package that a module imports, wherever it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] == "fastmlp")
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # from . import x
                parts = module.split(".")
                parts = parts[: len(parts) - node.level + is_package]
                base = ".".join([*parts, *([base] if base else [])])
            if base == "fastmlp":
                names = (alias.name for alias in node.names)
                yield from (f"fastmlp.{name}" if is_module(name) else "fastmlp" for name in names)
            elif base.split(".")[0] == "fastmlp":
                yield base


def allowed(source, target):
    """Say whether a module of one folder may import from another folder."""
    return source == target or RANKS[source] > RANKS[target]


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_run_downwards(path):
    module = dotted(path)
    tree = ast.parse(path.read_text("utf-8"))
    found = imports_of(tree, module, is_package=path.stem == "__init__")
    upwards = {target for target in found if not allowed(folder_of(module), folder_of(target))}
    assert not upwards, f"{module} must not import {sorted(upwards)}"


def test_every_folder_has_a_rank():
    assert {folder_of(dotted(path)) for path in modules()} <= RANKS.keys()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("import numpy", []),
        ("import fastmlp.network.session", ["fastmlp.network.session"]),
        ("from fastmlp.training.loop import Training", ["fastmlp.training.loop"]),
        ("from fastmlp import training", ["fastmlp.training"]),
        ("from fastmlp import MLPBinaryClassifier", ["fastmlp"]),
        ("from . import checks", ["fastmlp.data"]),
        ("from .labels import encode", ["fastmlp.data.labels"]),
        ("from ..training import loop", ["fastmlp.training"]),
        ("def f():\n    from fastmlp.runtime import cache", ["fastmlp.runtime"]),
    ],
)
def test_the_imports_that_are_found(line, expected):
    assert list(imports_of(ast.parse(line), "fastmlp.data.split")) == expected


@pytest.mark.parametrize(
    ("source", "target", "may"),
    [
        ("estimators", "training", True),
        ("training", "estimators", False),
        ("training", "data", True),
        ("data", "network", False),
        ("network", "data", True),
        ("network", "runtime", True),
        ("kernels", "runtime", True),
        ("runtime", "kernels", False),
        ("kernels", "data", False),
        ("export", "inspection", False),
        ("export", "fastmlp", False),
        ("data", "data", True),
    ],
)
def test_the_table_of_ranks(source, target, may):
    assert allowed(source, target) == may


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_files_are_short(path):
    n_lines = len(path.read_text("utf-8").splitlines())
    assert n_lines <= MOST_LINES or name_of(path) in LONG_FILES


def wide_functions(tree):
    """Names and numbers of parameters, self and cls apart, of functions that take too many."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            a = node.args
            names = [each.arg for each in (*a.posonlyargs, *a.args, *a.kwonlyargs)]
            count = len([name for name in names if name not in ("self", "cls")])
            if count > MOST_PARAMETERS:
                yield getattr(node, "name", "lambda"), count


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_signatures_are_short(path):
    wide = dict(wide_functions(ast.parse(path.read_text("utf-8"))))
    wide = wide.keys() - FORMULAS.get(name_of(path), set())
    assert not wide or name_of(path).startswith(OF_THE_TILE), wide
