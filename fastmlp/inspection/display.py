"""A picture of training: losses, validation score and learning rate over the epochs.

matplotlib is imported where a picture is drawn, and is an extra: ``pip install "fastmlp[plots]"``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from fastmlp.inspection.curves import curves_of

# Blue, orange, green and grey of Okabe and Ito's palette, which colour-blind readers tell apart.
_TRAINING, _VALIDATION, _SCORE, _RATE = "#0072B2", "#D55E00", "#009E73", "#666666"

Curve = Sequence[float]


class TrainingCurveDisplay:
    """Curves of a training by epochs.

    Make one with `from_estimator`, which draws it, or from numbers of your own, and `plot` it.

    Parameters
    ----------
    loss : sequence of float, or a list of such
        The training loss of each epoch; of several networks, a list with a curve for each.
    validation_loss : as loss, default=None
        The loss on the validation rows after each epoch.
    validation_score : as loss, default=None
        The score on the validation rows after each epoch.
    best_epoch : int, or sequence of int, default=None
        The epoch whose weights the model has, as an index into the validation curves; of several
        networks, one for each.
    learning_rate : sequence of float, default=None
        The learning rate of each epoch; of several networks, that of the first.
    score_name : str, default="score"
        What the score is.
    estimator_name : str, default=None
        A title.

    Attributes
    ----------
    ax_ : matplotlib Axes
        With the losses.
    score_ax_ : matplotlib Axes or None
        With the score: the same picture, its scale on the right.
    rate_ax_ : matplotlib Axes or None
        With the learning rate, below. None where it is constant, or where axes were given.
    figure_ : matplotlib Figure
        That holds them.
    lines_ : dict of str to matplotlib Line2D
        By the names of the parameters; lists of lines where the parameter is a list of curves.

    See Also
    --------
    fastmlp.MLPBinaryClassifier : Leaves these curves as fitted attributes.
    fastmlp.TabularMLPBinaryClassifier : Leaves those of several networks.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from fastmlp import MLPBinaryClassifier, TrainingCurveDisplay
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> clf = MLPBinaryClassifier(early_stopping=True, random_state=0).fit(X, y)
    >>> TrainingCurveDisplay.from_estimator(clf)  # doctest: +SKIP
    <...>
    """

    def __init__(
        self,
        *,
        loss: Curve | Sequence[Curve],
        validation_loss: Curve | Sequence[Curve] | None = None,
        validation_score: Curve | Sequence[Curve] | None = None,
        best_epoch: int | Sequence[int] | None = None,
        learning_rate: Curve | None = None,
        score_name: str = "score",
        estimator_name: str | None = None,
    ) -> None:
        self.loss = loss
        self.validation_loss = validation_loss
        self.validation_score = validation_score
        self.best_epoch = best_epoch
        self.learning_rate = learning_rate
        self.score_name = score_name
        self.estimator_name = estimator_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        ax: Any = None,
        name: str | None = None,
        despine: bool = False,
        line_kwargs: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw the curves of a fitted estimator.

        Parameters
        ----------
        estimator : MLPBinaryClassifier, TabularMLPBinaryClassifier or Pipeline
            Fitted, the first by "adam" or "sgd"; of a Pipeline, the last step counts.
        ax : matplotlib Axes, default=None
            Where to draw the losses and the score; None makes a figure, with the learning rate
            below where it changes.
        name : str, default=None
            A title; None is the name of the estimator's class.
        despine : bool, default=False
            Whether to leave out the frame at the top.
        line_kwargs : dict, default=None
            Keywords for every line, as matplotlib's `plot` takes them.

        Returns
        -------
        TrainingCurveDisplay

        Raises
        ------
        NotFittedError
            If the estimator has not been fitted.
        ValueError
            If it has no curves, as after L-BFGS.
        ImportError
            If matplotlib is not installed.
        """
        steps = getattr(estimator, "steps", None)
        model = steps[-1][1] if steps else estimator
        check_is_fitted(model)
        title = type(model).__name__ if name is None else name
        display = cls(**curves_of(model), estimator_name=title)
        return display.plot(ax=ax, despine=despine, line_kwargs=line_kwargs)

    def plot(
        self,
        ax: Any = None,
        *,
        name: str | None = None,
        despine: bool = False,
        line_kwargs: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw the losses and the score; None makes a figure.
        name : str, default=None
            A title; None is `estimator_name`.
        despine : bool, default=False
            Whether to leave out the frame at the top.
        line_kwargs : dict, default=None
            Keywords for every line, as matplotlib's `plot` takes them.

        Returns
        -------
        TrainingCurveDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        pyplot, maximum_locator = _matplotlib()
        self.rate_ax_ = self.score_ax_ = None
        if ax is not None:
            self.ax_, self.figure_ = ax, ax.figure
        elif self._rate_changes():
            self.figure_, (self.ax_, self.rate_ax_) = pyplot.subplots(
                2, 1, sharex=True, height_ratios=(3, 1), layout="constrained"
            )
        else:
            self.figure_, self.ax_ = pyplot.subplots(layout="constrained")
        self._options = dict(line_kwargs or {})
        self.lines_: dict[str, Any] = {}
        self._draw("loss", self.ax_, color=_TRAINING, label="training loss")
        self._draw("validation_loss", self.ax_, color=_VALIDATION, label="validation loss")
        self.ax_.set_ylabel("loss")
        if self._has("validation_score"):
            self.score_ax_ = self.ax_.twinx()
            self._draw(
                "validation_score", self.score_ax_, color=_SCORE, linestyle="--",
                label=f"validation {self.score_name}",
            )  # fmt: skip
            self.score_ax_.set_ylabel(self.score_name, color=_SCORE)
            self.score_ax_.tick_params(axis="y", labelcolor=_SCORE)
        self._mark_best()
        lowest = self.ax_
        if self.rate_ax_ is not None:
            self._draw("learning_rate", self.rate_ax_, color=_RATE, label="learning rate")
            self.rate_ax_.set_ylabel("learning rate")
            self.rate_ax_.set_ylim(bottom=0)
            lowest = self.rate_ax_
        lowest.set_xlabel("epoch")
        lowest.xaxis.set_major_locator(maximum_locator(integer=True))
        self.ax_.set_title(self.estimator_name if name is None else name, pad=22)
        self._frame(despine)
        self._legend()
        return self

    def _has(self, curve: str) -> bool:
        return getattr(self, curve) is not None and len(getattr(self, curve)) > 0

    def _by_network(self, curve: str) -> list[NDArray[Any]]:
        """A curve of each network: none where there is no such curve."""
        values = getattr(self, curve) if self._has(curve) else []
        if len(values) and np.ndim(values[0]) == 0:
            values = [values]
        return [np.asarray(each, np.float64) for each in values]

    def _epochs(self, curve: str) -> list[NDArray[Any]]:
        """Epochs of a curve of each network, counted from 1: all end with the newest epoch.

        One is shorter than the training loss where warm starts have begun it later.
        """
        pairs = zip(self._by_network("loss"), self._by_network(curve), strict=False)
        return [np.arange(1 + len(loss) - len(each), 1 + len(loss)) for loss, each in pairs]

    def _rate_changes(self) -> bool:
        return self._has("learning_rate") and bool(np.ptp(np.asarray(self.learning_rate)) > 0)

    def _draw(self, curve: str, ax: Any, **options: Any) -> None:
        """Draw a curve over the epochs, those of several networks thin; a single one as a dot."""
        lines, curves = [], self._by_network(curve)
        if len(curves) > 1:
            options |= {"linewidth": 1, "alpha": 0.7}
        for epochs, values in zip(self._epochs(curve), curves, strict=True):
            dot = {"marker": "o"} if len(values) == 1 else {}
            lines += ax.plot(epochs, values, **{**options, **dot, **self._options})
        if lines:
            of_each = np.ndim(getattr(self, curve)[0]) > 0
            self.lines_[curve] = lines if of_each else lines[0]

    def _mark_best(self) -> None:
        """Mark the best epoch: that of each of several networks by a dot where it was chosen."""
        if self.best_epoch is None:
            return
        best, ax = np.atleast_1d(self.best_epoch), self.score_ax_ or self.ax_
        on = next(c for c in ("validation_score", "validation_loss", "loss") if self._has(c))
        epochs = [each[k] for each, k in zip(self._epochs(on), best, strict=True)]
        first, last = min(epochs), max(epochs)
        if len(best) == 1:
            self.lines_["best_epoch"] = self.ax_.axvline(
                first, color=_RATE, linewidth=1, linestyle=":", label=f"best epoch: {first}"
            )
            return
        values = [each[k] for each, k in zip(self._by_network(on), best, strict=True)]
        (self.lines_["best_epoch"],) = ax.plot(
            epochs, values, linestyle="", marker="o", markersize=6, color=_RATE,
            markeredgecolor="white", zorder=3,
            label=f"best epochs: {first}" + (f" to {last}" if last > first else ""),
        )  # fmt: skip

    def _frame(self, despine: bool) -> None:
        axes = [ax for ax in (self.ax_, self.score_ax_, self.rate_ax_) if ax is not None]
        for ax in axes:
            if despine:
                ax.spines["top"].set_visible(False)
                if self.score_ax_ is None:
                    ax.spines["right"].set_visible(False)

    def _legend(self) -> None:
        """Put one legend for both scales between picture and title, where it covers no line."""
        lines = [
            line[0] if isinstance(line, list) else line
            for name, line in self.lines_.items()
            if name != "learning_rate"
        ]
        self.ax_.legend(
            lines, [line.get_label() for line in lines], loc="lower center",
            bbox_to_anchor=(0.5, 1.0), ncols=len(lines), fontsize="small", frameon=False,
            columnspacing=1.2, handlelength=1.6,
        )  # fmt: skip


def _matplotlib() -> tuple[Any, Any]:
    """Import what draws."""
    try:
        from matplotlib import pyplot
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise ImportError(
            'Pictures need matplotlib: pip install "fastmlp[plots]", or pip install matplotlib.'
        ) from error
    return pyplot, MaxNLocator
