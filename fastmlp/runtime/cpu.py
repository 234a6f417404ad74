"""The CPU that the compiled code is written for: width of its vector registers, cache lines."""

import os
import platform

import llvmlite.binding as llvm


def _register_bytes() -> int:
    forced = os.environ.get("FASTMLP_VECTOR_BYTES")
    if forced:  # an empty one is none
        if forced not in ("16", "32", "64"):
            raise ValueError(f"FASTMLP_VECTOR_BYTES must be 16, 32 or 64, got {forced!r}.")
        return int(forced)
    try:
        features = llvm.get_host_cpu_features()
    except RuntimeError:  # LLVM does not know this CPU
        return 16
    if features.get("avx512f"):
        return 64
    return 32 if features.get("avx") else 16


#: Width of the vectors in bytes. FASTMLP_VECTOR_BYTES forces one; LLVM lowers it to what is there.
VECTOR_BYTES = _register_bytes()

#: Vectors beside each other in the widest tile: what the register file holds (32 registers with
#: AVX-512 and NEON, 16 otherwise).
TILE_VECTORS = 4 if VECTOR_BYTES == 64 or platform.machine() in ("arm64", "aarch64") else 2

#: Bytes of a cache line.
CACHE_LINE = 64
