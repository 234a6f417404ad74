"""Where and with what something was measured, for the record beside the numbers."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path

from .roof import usable_cores

_PACKAGES = ("numpy", "numba", "scikit-learn", "torch", "jax")


def _output(*command):
    """First line that a command prints; empty where it fails."""
    here = Path(__file__).parent
    try:
        done = subprocess.run(command, capture_output=True, check=True, text=True, cwd=here)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip().split("\n")[0]


def cpu_name():
    """The processor as the system calls it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    brand = _output("sysctl", "-n", "machdep.cpu.brand_string")
    return brand or platform.processor() or platform.machine()


def describe():
    """Processor, cores and system, and the version of everything that takes part.

    Returns
    -------
    dict
        "machine" and "versions", one line each.
    """
    import threadpoolctl

    import fastmlp

    cores = usable_cores()
    machine = f"{cpu_name()}, {cores} core{'s' * (cores > 1)}, {platform.system()}"
    commit = _output("git", "describe", "--always", "--dirty")
    versions = [f"fastmlp {fastmlp.__version__}" + (f" ({commit})" if commit else "")]
    versions.append(f"Python {platform.python_version()}")
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    for pool in threadpoolctl.threadpool_info():
        if pool["user_api"] == "blas":
            versions.append(f"{pool['internal_api']} {pool['version']}")
            break
    return {"machine": machine, "versions": ", ".join(versions)}
