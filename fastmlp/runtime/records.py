"""Records: what Python tells compiled code, as NumPy structures whose fields both read by name.

A field that holds an address is called after the type of the numbers there, so that a record's type
says it all. Views are typed arrays made from an address: they own nothing, and the caller answers
for sizes.
"""

import numpy as np
from llvmlite import ir
from numba import from_dtype, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

I64 = ir.IntType(64)


def numbers(kind):
    """Record of numbers of type `kind` beside each other: their address."""
    return np.dtype([(kind, np.int64)])


def field(context, builder, record, kind, name):
    """Read an int64 field of a record."""
    place = builder.gep(
        builder.bitcast(record, ir.IntType(8).as_pointer()), [I64(kind.offset(name))]
    )
    return builder.load(builder.bitcast(place, I64.as_pointer()), align=8)


def kind_of(record):
    """Numba's type of the numbers that a record leads to: the name of its first field."""
    name = next(iter(dict(record.members)))
    return from_dtype(np.dtype(name))


def view(context, builder, kind, address, shape, strides):
    """An array struct without an owner."""
    array = make_array(kind)(context, builder)
    number = context.get_data_type(kind.dtype)
    size = context.get_abi_sizeof(number)
    populate_array(
        array,
        data=builder.inttoptr(address, number.as_pointer()),
        shape=cgutils.pack_array(builder, shape),
        strides=cgutils.pack_array(builder, [builder.mul(s, I64(size)) for s in strides]),
        itemsize=I64(size),
        meminfo=None,
    )
    return array._getvalue()


@intrinsic
def listed(typingctx, record, first, count):
    """`count` numbers from `first` on: (count,)."""
    number = kind_of(record)
    kind = types.Array(number, 1, "C")

    def codegen(context, builder, signature, args):
        address = field(context, builder, args[0], record, next(iter(dict(record.members))))
        size = context.get_abi_sizeof(context.get_data_type(number))
        address = builder.add(address, builder.mul(args[1], I64(size)))
        return view(context, builder, kind, address, [args[2]], [I64(1)])

    return kind(record, types.int64, types.int64), codegen


@intrinsic
def number(typingctx, record, k):
    """The number at position k."""
    kind = kind_of(record)

    def codegen(context, builder, signature, args):
        address = field(context, builder, args[0], record, next(iter(dict(record.members))))
        value = context.get_data_type(kind)
        place = builder.gep(builder.inttoptr(address, value.as_pointer()), [args[1]])
        return context.unpack_value(builder, kind, place)

    return kind(record, types.int64), codegen


@intrinsic
def words_at(typingctx, address, count):
    """`count` int64 from an address on: (count,)."""
    kind = types.Array(types.int64, 1, "C")

    def codegen(context, builder, signature, args):
        return view(context, builder, kind, args[0], [args[1]], [I64(1)])

    return kind(types.int64, types.int64), codegen


def record_at(dtype):
    """An intrinsic f(address) that reads the record of this type at an address."""
    kind = from_dtype(dtype)

    @intrinsic
    def read(typingctx, address):
        def codegen(context, builder, signature, args):
            return builder.inttoptr(args[0], context.get_value_type(kind))

        return kind(types.int64), codegen

    return read
