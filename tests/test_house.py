"""How the package is laid out: imports run downwards only, and files and signatures stay short.

The folders of the package have ranks. A module imports from folders of a lower rank, and from its
own; what compiles and what runs compiled code, at the bottom, may know one another.
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
    "estimators": 5,
    "export": 4,
    "inspection": 4,
    "training": 3,
    "network": 2,
    "data": 1,
    "kernels": 0,
    "runtime": 0,
    "version": -1,
}

#: Modules at the top that have not moved yet, and the folder whose rank they have.
MODULES = {
    "engine": "network",
    "workspace": "network",
    "network": "network",
    "optimizer": "network",
    "rows": "data",
    "threads": "runtime",
    "cores": "runtime",
    "pace": "runtime",
}

MOST_LINES = 400
MOST_PARAMETERS = 8

#: Files that are longer, until what they hold is drawn anew.
LONG_FILES = {"engine.py", "kernels/simd.py"}

#: Functions that take more, until what they hold is drawn anew: the register tile and other
#: intrinsics, which numba hands their arguments one by one, and the kernels above them.
WIDE_FUNCTIONS = {
    "kernels/backprop.py": {"forward", "gradient", "descend"},
    "kernels/gather.py": {"_emit_gather", "gather"},
    "kernels/optimizers.py": {"adam", "update"},
    "kernels/products.py": {"product"},
    "kernels/simd.py": {"row_dots", "weighted_row_sum", "panel", "emit"},
    "kernels/sparse.py": {"sparse_forward", "sort_entries", "sparse_gradient"},
    "kernels/training.py": {"_rows_task", "run"},
}


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path):
    return path.relative_to(PACKAGE).as_posix()


def folder_of(module):
    """Folder that a module lies in, by its dotted name or by parts of its path."""
    parts = module.split(".")
    top = parts[1] if len(parts) > 1 else parts[0]
    return MODULES.get(top, top)


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
    return source == target or RANKS[source] > RANKS[target] or RANKS[source] == RANKS[target] == 0


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
        ("import fastmlp.engine", ["fastmlp.engine"]),
        ("from fastmlp.training.loop import Training", ["fastmlp.training.loop"]),
        ("from fastmlp import training", ["fastmlp.training"]),
        ("from fastmlp import MLPBinaryClassifier", ["fastmlp"]),
        ("from . import checks", ["fastmlp.data"]),
        ("from .labels import encode", ["fastmlp.data.labels"]),
        ("from ..training import loop", ["fastmlp.training"]),
        ("def f():\n    from fastmlp.kernels import cache", ["fastmlp.kernels"]),
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
        ("runtime", "kernels", True),
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
    assert wide.keys() <= WIDE_FUNCTIONS.get(name_of(path), set()), wide
