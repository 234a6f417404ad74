"""The FMA roof: the most floating-point operations a second that this machine's cores can do.

A loop of fused multiply-adds on independent vectors runs in registers alone, without a load or a
store, so no matrix product can be faster. A share of the roof says how much of the machine is used,
and survives a change of machine, which GFLOP/s do not.

    python -m benchmarks.roof        # GFLOP/s of one core and of all, float32 and float64
"""

import ctypes
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import product

import numpy as np

#: Vectors in flight. A core hides its FMA latency behind 8 to 16 of them, and has 16 or 32
#: registers to keep them in: the best of the three counts, whatever the CPU.
IN_FLIGHT = (12, 20, 28)

#: What one call of the loop should take: short beside the time slices of a busy machine.
CALL_SECONDS = 0.001


def usable_cores():
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_features():
    import llvmlite.binding as llvm

    try:
        return llvm.get_host_cpu_features()
    except RuntimeError:  # LLVM does not know this CPU
        return llvm.FeatureMap()


def _vector_bytes():
    """Widths of the vector registers of this CPU."""
    features = _cpu_features()
    return (16, *[size for size, name in ((32, "avx"), (64, "avx512f")) if features.get(name)])


def _source(scalar, lanes, in_flight):
    """LLVM assembly of ``fma_loop(rounds)``: rounds × in_flight FMAs."""
    vector = f"<{lanes} x {scalar}>"
    name = f"@llvm.fma.v{lanes}f{32 if scalar == 'float' else 64}"
    half = f"<{', '.join([f'{scalar} 0.5'] * lanes)}>"
    places = range(in_flight)
    phis = "\n".join(
        f"  %x{k} = phi {vector} [ %start{k}, %entry ], [ %y{k}, %round ]" for k in places
    )
    # The sums start apart from each other, or the compiler would see that they are all one.
    starts = "\n".join(
        f"  %start{k} = insertelement {vector} {half}, {scalar} {k}.0, i32 0" for k in places
    )
    steps = "\n".join(
        f"  %y{k} = call {vector} {name}({vector} %x{k}, {vector} {half}, {vector} {half})"
        for k in places
    )
    total, sums = "%y0", []
    for k in places[1:]:
        sums.append(f"  %total{k} = fadd {vector} {total}, %y{k}")
        total = f"%total{k}"
    sums = "\n".join(sums)
    return f"""
declare {vector} {name}({vector}, {vector}, {vector})

define {scalar} @fma_loop(i64 %rounds) {{
entry:
{starts}
  br label %round
round:
  %i = phi i64 [ 0, %entry ], [ %next, %round ]
{phis}
{steps}
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %rounds
  br i1 %more, label %round, label %end
end:
{sums}
  %result = extractelement {vector} {total}, i32 0
  ret {scalar} %result
}}
"""


@cache
def _loops(dtype):
    """The compiled loops for one dtype: (function, operations of a round, what keeps it alive)."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=_cpu_features().flatten(), opt=3
    )
    is_float = dtype.itemsize == 4
    scalar, c_type = ("float", ctypes.c_float) if is_float else ("double", ctypes.c_double)
    loops = []
    for lanes, in_flight in product([n // dtype.itemsize for n in _vector_bytes()], IN_FLIGHT):
        module = llvm.parse_assembly(_source(scalar, lanes, in_flight))
        module.triple = target.triple
        engine = llvm.create_mcjit_compiler(module, machine)
        engine.finalize_object()
        address = engine.get_function_address("fma_loop")
        # A call through ctypes gives up the GIL, so that several threads run at once.
        function = ctypes.CFUNCTYPE(c_type, ctypes.c_int64)(address)
        loops.append((function, 2 * lanes * in_flight, engine))
    return loops


def _best_gflops(loops, barrier, seconds):
    """The best call of one thread while all of them are at work."""

    def call(loop, rounds):
        start = time.perf_counter()
        loop[0](rounds)
        return time.perf_counter() - start

    barrier.wait()
    deadline = time.perf_counter() + seconds
    rounds = [max(10_000, int(10_000 * CALL_SECONDS / call(loop, 10_000))) for loop in loops]
    best = 0.0
    while True:
        for loop, n in zip(loops, rounds, strict=True):
            taken = call(loop, n)
            if time.perf_counter() > deadline:  # other threads may have stopped by now
                return best
            best = max(best, loop[1] * n / taken / 1e9)


def roof_gflops(dtype=np.float32, threads=1, seconds=0.5):
    """The FMA roof of `threads` cores at work at once, in GFLOP/s (an FMA is two operations).

    They are measured together, because cores may share a clock, a budget of power, or an FMA unit.
    All loops take turns and the best call of each thread counts, so pauses that other processes
    impose do no harm.

    Parameters
    ----------
    dtype : numpy.dtype
        float32 or float64.
    threads : int
        How many cores.
    seconds : float
        How long to try.
    """
    loops = _loops(np.dtype(dtype))
    barrier = threading.Barrier(threads)
    with ThreadPoolExecutor(threads) as pool:
        calls = [pool.submit(_best_gflops, loops, barrier, seconds) for _ in range(threads)]
        return sum(call.result() for call in calls)


def main():
    cores = usable_cores()
    for dtype in (np.float32, np.float64):
        one, every = roof_gflops(dtype), roof_gflops(dtype, cores)
        print(f"{np.dtype(dtype).name}: {one:.0f} GFLOP/s on one core, {every:.0f} on {cores}")


if __name__ == "__main__":
    main()
