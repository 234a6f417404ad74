"""The README's plot: time of an epoch over the width of the network and over the batch size."""

from .peers import CONTESTANTS

#: Formats of the file.
ENDINGS = (".svg", ".png")

#: Colours that are told apart with any colour vision (Okabe and Ito), and a marker each.
_STYLES = {
    "scikit-learn": {"color": "#E69F00", "marker": "s"},
    "torch": {"color": "#CC79A7", "marker": "^"},
    "jax": {"color": "#0072B2", "marker": "D"},
    "fastmlp": {"color": "#000000", "marker": "o", "linewidth": 2.4},
}

_TITLES = {
    "width": ("Width of both hidden layers", "batches of 200 rows"),
    "batch size": ("Rows of a minibatch", "hidden layers (100, 100)"),
}


def draw(result, positions, path):
    """Draw the sweeps of a run.

    Parameters
    ----------
    result : dict
        From `panel.run`: "sweeps" has milliseconds an epoch for each position and contestant.
    positions : dict
        Where each sweep's points lie on its axis.
    path : str
        File to write; its ending says which format.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullLocator

    plain = FuncFormatter(lambda value, _: f"{value:g}")
    # The same run gives the same file.
    with mpl.rc_context({"svg.hashsalt": "fastmlp", "font.size": 10}):
        figure = Figure(figsize=(9, 4.2), layout="constrained", facecolor="white")
        axes = figure.subplots(1, len(positions), sharey=True)
        for axis, (sweep, places) in zip(axes, positions.items(), strict=True):
            for name in CONTESTANTS:
                points = [milliseconds.get(name) for milliseconds in result["sweeps"][sweep]]
                if None not in points:
                    axis.plot(places, points, label=name, markersize=5, **_STYLES[name])
            title, rest = _TITLES[sweep]
            axis.set_title(rest, fontsize=10, color="#555555")
            axis.set_xlabel(title)
            axis.set_xscale("log", base=2)
            axis.set_yscale("log")
            axis.set_xticks(places, [str(place) for place in places])
            axis.xaxis.set_minor_locator(NullLocator())
            axis.yaxis.set_major_formatter(plain)
            axis.grid(axis="y", color="#dddddd", linewidth=0.8)
            axis.set_axisbelow(True)
            axis.spines[["top", "right"]].set_visible(False)
        axes[0].set_ylabel("milliseconds an epoch")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
        figure.supxlabel(
            f"10,000 rows of 50 features, float32, Adam. {result['machine']}.",
            fontsize=8,
            color="#555555",
        )
        metadata = {"Date": None} if str(path).endswith(".svg") else None
        figure.savefig(path, dpi=150, metadata=metadata)
