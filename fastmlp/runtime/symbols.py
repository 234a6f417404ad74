"""Names under which compiled functions find others that were compiled on their own."""

import llvmlite.binding as llvm


def define(name: str, address: int) -> None:
    """Let compiled code that is loaded from here on call what is at an address by a name."""
    llvm.add_symbol(name, address)
