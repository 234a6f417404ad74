"""SIMD vectors in LLVM IR: the width of this CPU's registers, and arithmetic on one vector.

`Vector` lets a formula be written once, as ordinary Python arithmetic, for every register width and
for float32 and float64. Nothing here runs when a model is trained: it writes the code that does.
"""

from llvmlite import ir
from numba import types

from fastmlp.runtime.cpu import VECTOR_BYTES

I32 = ir.IntType(32)
I64 = ir.IntType(64)

#: Columns of a panel: one 512-bit register of float32, two of float64, a cache line or two. Every
#: matrix is stored in panels of so many columns, so its layout is the same on every CPU.
PANEL = 16


def lanes(real: types.Float) -> int:
    """Numbers of type `real` in one vector."""
    return VECTOR_BYTES * 8 // int(real.bitwidth)


def llvm_real(real: types.Float) -> ir.Type:
    """LLVM's type of one number."""
    return ir.FloatType() if real.bitwidth == 32 else ir.DoubleType()


def emit_function(builder, name, result, arguments, emit_body):
    """Call-ready function `name` of the module, written by emit_body(builder, *arguments) once.

    It stays a function of its own: what uses it stays small, and LLVM optimises it once a module.
    """
    function = builder.module.globals.get(name)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(result, arguments), name)
        function.linkage = "linkonce_odr"
        function.attributes.add("noinline")
        function.attributes.add("optsize")
        function.attributes.add("nounwind")
        body = ir.IRBuilder(function.append_basic_block("entry"))
        value = emit_body(body, *function.args)
        body.ret_void() if value is None else body.ret(value)
    return function


def declare(module, name, result, arguments):
    """An external function or LLVM intrinsic by name (declare_intrinsic rejects vectors)."""
    return module.globals.get(name) or ir.Function(module, ir.FunctionType(result, arguments), name)


def prefetch(builder, pointer):
    """Fetch the line at a pointer into the core's own cache; there need not be memory."""
    kind = ir.IntType(8).as_pointer()
    function = declare(builder.module, "llvm.prefetch.p0", ir.VoidType(), [kind, I32, I32, I32])
    # To read; not into the first level; data.
    builder.call(function, [builder.bitcast(pointer, kind), I32(0), I32(2), I32(1)])


class Loop:
    """`with Loop(builder, count) as index:` runs the block count times; count may be 0.

    `carried` values (name them by position) travel from one round to the next: the block reads
    them as `.values` and stores what follows into `.next`; after it, `.values` are the last ones.
    """

    def __init__(self, builder, count, carried=()):
        self.builder, self.count, self.initial = builder, count, list(carried)

    def __enter__(self):
        b = self.builder
        before = b.block
        self.head = b.append_basic_block("loop.head")
        body = b.append_basic_block("loop.body")
        self.end = b.append_basic_block("loop.end")
        b.branch(self.head)
        b.position_at_end(self.head)
        self.index = b.phi(I64)
        self.index.add_incoming(I64(0), before)
        self.values = [b.phi(value.type) for value in self.initial]
        for phi, value in zip(self.values, self.initial, strict=True):
            phi.add_incoming(value, before)
        b.cbranch(b.icmp_signed("<", self.index, self.count), body, self.end)
        b.position_at_end(body)
        self.next = list(self.values)
        return self

    def __exit__(self, *error):
        b = self.builder
        self.index.add_incoming(b.add(self.index, I64(1)), b.block)
        for phi, value in zip(self.values, self.next, strict=True):
            phi.add_incoming(value, b.block)
        b.branch(self.head)
        b.position_at_end(self.end)


def first_lanes(builder, count, real):
    """Mask of the first `count` (int64) lanes of a vector."""
    numbers = ir.VectorType(I32, lanes(real))
    undefined = ir.Constant(numbers, ir.Undefined)
    one = builder.insert_element(undefined, builder.trunc(count, I32), I32(0))
    counts = builder.shuffle_vector(one, undefined, ir.Constant(numbers, [0] * lanes(real)))
    lane = ir.Constant(numbers, list(range(lanes(real))))
    return builder.icmp_signed("<", lane, counts)


class Vector:
    """One SIMD vector of numbers while code is written: arithmetic on it emits instructions."""

    def __init__(self, builder, value, real):
        self.builder, self.value, self.real = builder, value, real

    # -- making ----------------------------------------------------------------------------------
    @staticmethod
    def type(real):
        """LLVM's type of a vector of `real`."""
        return ir.VectorType(llvm_real(real), lanes(real))

    @classmethod
    def broadcast(cls, builder, scalar, real):
        """The vector whose lanes all hold a scalar."""
        undefined = ir.Constant(cls.type(real), ir.Undefined)
        first = builder.insert_element(undefined, scalar, I32(0))
        mask = ir.Constant(ir.VectorType(I32, lanes(real)), [0] * lanes(real))
        return cls(builder, builder.shuffle_vector(first, undefined, mask), real)

    @classmethod
    def constant(cls, builder, number, real):
        """The vector whose lanes all hold a number."""
        return cls(builder, ir.Constant(cls.type(real), [number] * lanes(real)), real)

    @classmethod
    def load(cls, builder, pointer, real):
        """Read the vector at a pointer, which need not be aligned to it."""
        at = builder.bitcast(pointer, cls.type(real).as_pointer())
        return cls(builder, builder.load(at, align=real.bitwidth // 8), real)

    def store(self, pointer):
        """Write the vector to a pointer."""
        at = self.builder.bitcast(pointer, self.value.type.as_pointer())
        self.builder.store(self.value, at, align=self.real.bitwidth // 8)

    def like(self, value):
        """A vector of the same type with another LLVM value."""
        return Vector(self.builder, value, self.real)

    def _of(self, other):
        if isinstance(other, Vector):
            return other
        return Vector.constant(self.builder, other, self.real)

    def zeros(self):
        """A vector of the same type that holds zeros."""
        return self._of(0.0)

    # -- arithmetic ------------------------------------------------------------------------------
    def __add__(self, other):
        return self.like(self.builder.fadd(self.value, self._of(other).value))

    def __sub__(self, other):
        return self.like(self.builder.fsub(self.value, self._of(other).value))

    def __rsub__(self, other):
        return self._of(other) - self

    def __mul__(self, other):
        return self.like(self.builder.fmul(self.value, self._of(other).value))

    def __truediv__(self, other):
        return self.like(self.builder.fdiv(self.value, self._of(other).value))

    def __rtruediv__(self, other):
        return self._of(other) / self

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self):
        return self.like(self.builder.fneg(self.value))

    def _intrinsic(self, name, *others):
        kind = self.value.type
        name = f"llvm.{name}.v{lanes(self.real)}f{self.real.bitwidth}"
        function = declare(self.builder.module, name, kind, [kind] * (1 + len(others)))
        return self.like(self.builder.call(function, [self.value, *(o.value for o in others)]))

    def times_plus(self, factor, addend):
        """self * factor + addend, rounded once."""
        return self._intrinsic("fma", self._of(factor), self._of(addend))

    def sqrt(self):
        """Square root."""
        return self._intrinsic("sqrt")

    def abs(self):
        """Absolute value."""
        return self._intrinsic("fabs")

    def copysign(self, sign):
        """Magnitude of self, sign of `sign`."""
        return self._intrinsic("copysign", sign)

    # -- choices: comparisons with NaN are false --------------------------------------------------
    def compare(self, operator, other):
        """Mask of the lanes where the comparison holds."""
        return self.builder.fcmp_ordered(operator, self.value, self._of(other).value)

    def where(self, condition, otherwise):
        """self where the condition holds, else `otherwise`."""
        return self.like(self.builder.select(condition, self.value, self._of(otherwise).value))

    def at_least(self, floor):
        """max(floor, self); NaN stays NaN."""
        floor = self._of(floor)
        return floor.where(floor.compare(">", self), self)

    def at_most(self, ceiling):
        """min(ceiling, self); NaN stays NaN."""
        ceiling = self._of(ceiling)
        return ceiling.where(ceiling.compare("<", self), self)

    # -- bits ------------------------------------------------------------------------------------
    def _integers(self):
        return ir.VectorType(ir.IntType(self.real.bitwidth), lanes(self.real))

    def bits(self):
        """The lanes' bits as integers."""
        return self.builder.bitcast(self.value, self._integers())

    def integers(self, number):
        """The integer vector whose lanes all hold a number."""
        return ir.Constant(self._integers(), [number] * lanes(self.real))

    def shuffled(self, other, order):
        """Lanes taken by number out of self (0 …) and other (lanes …)."""
        mask = ir.Constant(ir.VectorType(I32, len(order)), list(order))
        return self.like(self.builder.shuffle_vector(self.value, other.value, mask))

    def sum(self):
        """Sum of the lanes, added in halves."""
        n = lanes(self.real)
        total = self
        while n > 1:
            n //= 2
            order = [(k + n) % lanes(self.real) for k in range(lanes(self.real))]
            total = total + total.shuffled(total, order)
        return self.builder.extract_element(total.value, I32(0))
