"""The curves of training that a fitted estimator has, as a display names them."""

from __future__ import annotations

from typing import Any


def curves_of(model: Any) -> dict[str, Any]:
    """Curves, best epoch and name of the score of a fitted estimator, by a display's parameters.

    Those of an estimator with several networks are lists, with an entry for each.
    """
    several = hasattr(model, "loss_curves_")
    ending = "s_" if several else "_"
    loss = getattr(model, f"loss_curve{ending}", None)
    if several and not loss:
        raise ValueError(
            f"{type(model).__name__} has no curves, because it has no networks: y has one class, "
            "or every column of X one value."
        )
    if loss is None:
        raise ValueError(
            f"{type(model).__name__} has no loss_curve_: only training by epochs leaves one, "
            "with solver='adam' or 'sgd'."
        )
    scoring = getattr(model, "scoring", None)
    if scoring is None:
        scoring = "loss" if several else "accuracy"
    score_name = scoring if isinstance(scoring, str) else getattr(scoring, "__name__", "score")
    # A score that is the loss is the validation loss with another sign.
    scores = None if score_name == "loss" else getattr(model, "validation_scores_", None)
    return {
        "loss": loss,
        "validation_loss": getattr(model, f"validation_loss_curve{ending}", None),
        "validation_score": scores,
        "best_epoch": getattr(model, f"best_epoch{ending}", None),
        "learning_rate": getattr(model, "learning_rate_curve_", None),
        "score_name": score_name,
    }
