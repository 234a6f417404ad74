"""A picture of training: losses, validation score and learning rate over the epochs.

matplotlib is imported where a picture is drawn, and is an extra: ``pip install "fastmlp[plots]"``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

# Blue, orange, green and grey of Okabe and Ito's palette, which colour-blind readers tell apart.
_TRAINING, _VALIDATION, _SCORE, _RATE = "#0072B2", "#D55E00", "#009E73", "#666666"


class TrainingCurveDisplay:
    """Curves of a training by epochs.

    Make one with `from_estimator`, which draws it, or from numbers of your own, and `plot` it.

    Parameters
    ----------
    loss : sequence of float
        The training loss of each epoch.
    validation_loss : sequence of float, default=None
        The loss on the validation rows after each epoch.
    validation_score : sequence of float, default=None
        The score on the validation rows after each epoch.
    best_epoch : int, default=None
        The epoch whose weights the model has, as an index into the validation curves.
    learning_rate : sequence of float, default=None
        The learning rate of each epoch.
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
        By the names of the parameters.

    See Also
    --------
    fastmlp.MLPBinaryClassifier : Leaves these curves as fitted attributes.

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
        loss: Sequence[float],
        validation_loss: Sequence[float] | None = None,
        validation_score: Sequence[float] | None = None,
        best_epoch: int | None = None,
        learning_rate: Sequence[float] | None = None,
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
        estimator : MLPBinaryClassifier or Pipeline
            Fitted by "adam" or "sgd"; of a Pipeline, the last step counts.
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
        if getattr(model, "loss_curve_", None) is None:
            raise ValueError(
                f"{type(model).__name__} has no loss_curve_: only training by epochs leaves one, "
                "with solver='adam' or 'sgd'."
            )
        scoring = getattr(model, "scoring", None)
        default = "accuracy" if scoring is None else getattr(scoring, "__name__", "score")
        display = cls(
            loss=model.loss_curve_,
            validation_loss=getattr(model, "validation_loss_curve_", None),
            validation_score=getattr(model, "validation_scores_", None),
            best_epoch=getattr(model, "best_epoch_", None),
            learning_rate=getattr(model, "learning_rate_curve_", None),
            score_name=scoring if isinstance(scoring, str) else default,
            estimator_name=type(model).__name__ if name is None else name,
        )
        if display.score_name == "loss":
            display.validation_score = None  # it is the validation loss with another sign
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
        if self.best_epoch is not None:
            best = self._first_epoch("validation_loss") + self.best_epoch
            self.lines_["best_epoch"] = self.ax_.axvline(
                best, color=_RATE, linewidth=1, linestyle=":", label=f"best epoch: {best}"
            )  # fmt: skip
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

    def _first_epoch(self, curve: str) -> int:
        """Say where a curve begins, with epochs counted from 1: all end with the newest epoch.

        One is shorter than the training loss where warm starts have begun it later.
        """
        length = len(getattr(self, curve)) if self._has(curve) else len(self.loss)
        return 1 + len(self.loss) - length

    def _rate_changes(self) -> bool:
        return self._has("learning_rate") and bool(np.ptp(np.asarray(self.learning_rate)) > 0)

    def _draw(self, curve: str, ax: Any, **options: Any) -> None:
        """Draw a curve over the epochs; a single one as a dot."""
        if not self._has(curve):
            return
        values = np.asarray(getattr(self, curve), np.float64)
        if len(values) == 1:
            options["marker"] = "o"
        epochs = self._first_epoch(curve) + np.arange(len(values))
        (self.lines_[curve],) = ax.plot(epochs, values, **{**options, **self._options})

    def _frame(self, despine: bool) -> None:
        axes = [ax for ax in (self.ax_, self.score_ax_, self.rate_ax_) if ax is not None]
        for ax in axes:
            if despine:
                ax.spines["top"].set_visible(False)
                if self.score_ax_ is None:
                    ax.spines["right"].set_visible(False)

    def _legend(self) -> None:
        """Put one legend for both scales between picture and title, where it covers no line."""
        lines = [line for name, line in self.lines_.items() if name != "learning_rate"]
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
