"""fastmlp beside its peers: the README's table and plot, from one run.

    python -m benchmarks.panel                             # the table, about five minutes
    python -m benchmarks.panel --plot speed.svg            # and the plot
    python -m benchmarks.panel --only wide deep --repetitions 10
    python -m benchmarks.panel --json run.json             # keep the run ...
    python -m benchmarks.panel --load run.json --plot speed.svg    # ... and show it again

All contestants train the same networks on the same data, taken in turns, and the best run counts
(see `peers`). scikit-learn must be there, torch and jax are measured where they
are installed. Run it on a machine that does nothing else.
"""

import argparse
import importlib.util
import json
import sys
from datetime import date
from pathlib import Path

import numpy as np

from .machine import describe
from .peers import CONTESTANTS, PEERS, best_seconds, takes_part
from .plot import ENDINGS, draw
from .roof import roof_gflops, usable_cores
from .works import DTYPES, PANEL, WORKS, Work

#: The networks of the plot: one over the width of two hidden layers, one over the batch size.
WIDTHS = (16, 32, 64, 128, 256, 512, 1024)
BATCH_SIZES = (16, 32, 64, 128, 256, 512, 1024, 2048)
SWEEPS = {
    "width": [Work(f"width {w}", 10_000, 50, (w, w), 200, epochs=5) for w in WIDTHS],
    "batch size": [Work(f"batch {b}", 10_000, 50, (100, 100), b, epochs=5) for b in BATCH_SIZES],
}


def log(text):
    print(text, file=sys.stderr, flush=True)


def measure(work, dtype, repetitions):
    """Milliseconds an epoch of each contestant."""
    X, y, _, _ = work.data(dtype)
    runs = {
        name: prepare(work, X, y)
        for name, prepare in CONTESTANTS.items()
        if takes_part(name, dtype)
    }
    seconds = best_seconds(runs, repetitions)
    milliseconds = {name: 1e3 * s / work.epochs for name, s in seconds.items()}
    times = ", ".join(f"{name} {ms:.2f}" for name, ms in milliseconds.items())
    log(f"{work.name}, {dtype}, ms an epoch: {times}")
    return milliseconds


def run(works, repetitions, with_sweeps):
    """Measure everything.

    Returns
    -------
    dict
        What `table` and `plot.draw` take, ready for JSON.
    """
    result = describe() | {"date": date.today().isoformat(), "repetitions": repetitions}
    cores = usable_cores()
    result["roof"] = {dtype: roof_gflops(dtype, cores) for dtype in DTYPES}
    result["panel"] = {
        dtype: {name: measure(WORKS[name], dtype, repetitions) for name in works}
        for dtype in DTYPES
    }
    # The roof is measured at both ends, because a machine's clock drifts.
    for dtype, before in result["roof"].items():
        result["roof"][dtype] = max(before, roof_gflops(dtype, cores))
    result["sweeps"] = {}
    if with_sweeps:
        for name, sweep in SWEEPS.items():
            result["sweeps"][name] = [measure(work, "float32", repetitions) for work in sweep]
    return result


def header(result):
    """Where and how it was measured, in sentences."""
    roofs = [f"{gflops:.0f} GFLOP/s in {dtype}" for dtype, gflops in result["roof"].items()]
    return (
        f"{result['machine']}; FMA roof {', '.join(roofs)}.\n"
        f"{result['versions']}.\n"
        f"{result['date']}, best of {result['repetitions']} turns of two runs."
    )


def speedups(result, peer, dtype):
    """{work: the peer's time over fastmlp's}, for the works that the peer was timed on."""
    rows = result["panel"][dtype]
    return {name: ms[peer] / ms["fastmlp"] for name, ms in rows.items() if peer in ms}


def table(result):
    """The README's table, in Markdown."""
    columns = {"network": {}, "ms an epoch": {}}
    for name, milliseconds in result["panel"]["float32"].items():
        work = WORKS[name]
        columns["network"][name] = (
            f"{work.n_samples:,} × {work.n_features}, {work.hidden}, batch {work.batch_size}"
        )
        columns["ms an epoch"][name] = f"{milliseconds['fastmlp']:.2f}"
    mean = "**geometric mean**"

    def add_speedups(title, peer, dtype):
        gains = speedups(result, peer, dtype)
        if gains:
            columns[title] = {name: f"{gain:.1f}×" for name, gain in gains.items()}
            columns[title][mean] = f"**{np.exp(np.mean(np.log(list(gains.values())))):.1f}×**"

    for peer in PEERS:
        add_speedups(f"vs {peer}", peer, "float32")
    roof = result["roof"]["float32"]
    columns["share of roof"] = {
        name: f"{WORKS[name].gflop / WORKS[name].epochs / (1e-3 * ms['fastmlp'] * roof):.0%}"
        for name, ms in result["panel"]["float32"].items()
    }
    add_speedups("float64 vs scikit-learn", "scikit-learn", "float64")

    names = [*result["panel"]["float32"], mean]
    rows = [["work", *columns]]
    rows += [[name, *(column.get(name, "") for column in columns.values())] for name in names]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, "|---" * 2 + "|---:" * (len(columns) - 1) + "|")
    return "\n".join(lines)


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [work.name for work in PANEL]
    parser.add_argument("--only", nargs="+", metavar="WORK", choices=names, default=names)
    parser.add_argument("--repetitions", type=int, default=5, help="at least 1; default 5")
    parser.add_argument("--json", metavar="FILE", help="write the run to this file")
    parser.add_argument("--load", metavar="FILE", help="show this run instead of measuring one")
    parser.add_argument("--plot", metavar="FILE", help="draw times over width and batch size")
    options = parser.parse_args(arguments)
    if options.plot and not options.plot.endswith(ENDINGS):
        parser.error(f"--plot needs a name that ends in {' or '.join(ENDINGS)}")
    if options.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib")
    if options.load:
        result = json.loads(Path(options.load).read_text(encoding="utf-8"))
        if options.plot and not result["sweeps"]:
            parser.error(f"{options.load} was measured without --plot")
    else:
        # What would fail at the end should fail before the run.
        for path in filter(None, (options.json, options.plot)):
            if not Path(path).absolute().parent.is_dir():
                parser.error(f"{path}: there is no such folder")
        # The table has the panel's order, whatever that of the arguments.
        works = [name for name in names if name in options.only]
        result = run(works, max(1, options.repetitions), with_sweeps=bool(options.plot))
        if options.json:
            Path(options.json).write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(header(result), table(result), sep="\n\n")
    if options.plot:
        draw(result, {"width": WIDTHS, "batch size": BATCH_SIZES}, options.plot)


if __name__ == "__main__":
    main()
