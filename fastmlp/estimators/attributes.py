"""The attributes of a fitted estimator: which there are, and how an estimator takes them on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Attributes = dict[str, Any]

#: What the checks of X leave.
SET_BY_CHECKS = ("n_features_in_", "feature_names_in_")

#: Lists that each call adds to, in place as scikit-learn does: a new list for every partial_fit
#: would make the cost of a long stream quadratic.
HISTORIES = (
    "loss_curve_",
    "learning_rate_curve_",
    "validation_scores_",
    "validation_loss_curve_",
)

# What training by epochs leaves and L-BFGS does not.
_SET_BY_EPOCHS = (
    *HISTORIES,
    "best_loss_",
    "best_validation_score_",
    "best_epoch_",
    "_training_state",
)

#: Every attribute that training leaves.
FITTED = (
    "classes_",
    "coefs_",
    "intercepts_",
    "n_iter_",
    "loss_",
    "n_layers_",
    "n_outputs_",
    "out_activation_",
    "t_",
    "init_scores_",
    *SET_BY_CHECKS,
    *_SET_BY_EPOCHS,
)


def take_on(estimator: Any, draft: Any, attributes: Attributes, earlier: Mapping[str, Any]) -> None:
    """Give an estimator its fitted attributes, and take those of an earlier call from it.

    In one step, and an exception that comes before it has histories cut to what they were.
    """
    added = []
    for name in HISTORIES:
        history, new = earlier.get(name), attributes.get(name)
        if history is not None and new is not None:
            attributes[name] = history if isinstance(history, list) else list(history)
            added.append((attributes[name], len(history), new))
    taken_on = dict(vars(estimator))
    for name in (*SET_BY_CHECKS, *_SET_BY_EPOCHS):
        taken_on.pop(name, None)
    taken_on |= {name: vars(draft)[name] for name in SET_BY_CHECKS if name in vars(draft)}
    taken_on |= attributes
    try:
        for history, _, new in added:
            history += new
        estimator.__dict__ = taken_on
    except BaseException:
        if vars(estimator) is not taken_on:
            for history, length, _ in added:
                del history[length:]
        raise
