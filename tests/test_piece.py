"""A piece: compiled once for each type of record, with the functions that it calls by name."""

import uuid

import numpy as np
import pytest
from compiled import address, call, filled
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastmlp.kernels import piece as pieces
from fastmlp.kernels.epoch import EPOCH
from fastmlp.kernels.layer import backward, forward, gradient, layer_record, refresh
from fastmlp.kernels.piece import Symbol, kind_of_numbers, piece
from fastmlp.kernels.product import PRODUCT, TRANSPOSED_PRODUCT
from fastmlp.kernels.simd.vector import I64, declare
from fastmlp.kernels.updates import update_record
from fastmlp.runtime.records import numbers, record_at

RECORD = np.dtype([("x", numbers("float32")), ("sum", np.int64), ("epoch", np.int64)])


def add_all(record, at, first, rows, batch):
    """Sum of the arguments, each with a weight of its own."""
    record.sum = at + 10 * first + 100 * rows + 1000 * batch + 10000 * epoch_at(record.epoch).n_rows


epoch_at = record_at(EPOCH)


@pytest.fixture
def compilations(monkeypatch):
    """Names of what is compiled, or loaded, while a test runs."""
    names = []
    by_address = pieces.by_address

    def counted(function, signature):
        names.append(function.__qualname__.split(".")[-1])
        return by_address(function, signature)

    monkeypatch.setattr(pieces, "by_address", counted)
    monkeypatch.setenv("FASTMLP_CACHE", "0")
    return names


def test_one_signature(compilations):
    epoch = filled(EPOCH, n_rows=5)
    record = filled(RECORD, epoch=address(epoch))
    call(piece()(add_all), record, at=1, first=2, rows=3, batch=4)
    assert record["sum"][0] == 54321
    call(piece()(add_all), record, at=-1)
    assert record["sum"][0] == 49999


def test_compiled_once_for_each_type_of_record(compilations):
    adds = piece()(add_all)
    assert adds.__name__ == "add_all"
    assert adds.__doc__ == add_all.__doc__
    assert not adds.is_compiled(RECORD)
    first = adds.address(RECORD)
    assert adds.is_compiled(RECORD)
    # The same type, made anew.
    same = np.dtype([(name, RECORD[name]) for name in RECORD.names])
    assert adds.address(same) == first
    assert compilations == ["add_all"]
    other = np.dtype([("x", numbers("float64")), ("sum", np.int64), ("epoch", np.int64)])
    assert not adds.is_compiled(other)
    assert adds.address(other) != first
    assert compilations == ["add_all", "add_all"]


def test_the_type_of_the_numbers_of_a_record():
    for kind in ("float32", "float64"):
        assert kind_of_numbers(layer_record(kind)) == kind
        assert kind_of_numbers(update_record(kind)) == kind


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_only_the_product_of_its_own_type_is_compiled(kind, compilations, monkeypatch):
    monkeypatch.setattr(forward, "_compiled", {})
    for symbol in PRODUCT.values():
        symbol.link()
        monkeypatch.setattr(symbol, "_compiled", None)
    compilations.clear()
    # Pieces that are compiled later must not find code that this test alone keeps.
    monkeypatch.setattr(pieces, "define", lambda name, address: compilations.append(name))
    forward.address(layer_record(kind))
    # The function comes before what calls it.
    assert compilations == [f"fastmlp_product_{kind}", f"fastmlp_product_{kind}", "forward"]
    forward.address(layer_record(kind))
    assert len(compilations) == 3


def test_which_pieces_call_the_product():
    assert all(one._links is PRODUCT for one in (forward, backward))
    assert gradient._links is TRANSPOSED_PRODUCT
    assert refresh._links == {}


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_names_of_symbols(kind):
    symbol = PRODUCT[kind]
    assert symbol.name == f"fastmlp_product_{kind}"
    symbol.link()
    first = symbol._compiled
    symbol.link()
    assert symbol._compiled is first
    # The code of both lies in one file each on disk, which their names tell apart.
    assert symbol._function.__qualname__ == f"fastmlp_product_{kind}"


NAME = f"fastmlp_test_{uuid.uuid4().hex}"


@intrinsic
def call_by_name(typingctx, place):
    def codegen(context, builder, signature, args):
        builder.call(declare(builder.module, NAME, ir.VoidType(), [I64]), args)
        return context.get_dummy_value()

    return types.void(types.int64), codegen


record_at_address = record_at(RECORD)


def test_a_symbol_is_called_by_its_name(compilations):
    def write(place):
        record_at_address(place).sum = 7

    def call_it(record, at, first, rows, batch):
        call_by_name(first)

    links = {"float32": Symbol(NAME, write, types.void(types.int64))}
    layer = filled(layer_record("float32"))
    target = filled(RECORD)
    call(piece(links)(call_it), layer, first=address(target))
    assert target["sum"][0] == 7
    assert compilations == ["write", "call_it"]
