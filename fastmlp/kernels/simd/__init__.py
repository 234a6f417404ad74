"""The only LLVM IR of the kernels: vectors, the register tile, loops over whole vectors."""
