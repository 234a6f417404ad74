"""The parameters of a network's estimator, each written once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.metrics import get_scorer_names
from sklearn.utils._param_validation import Interval, Options, StrOptions

from fastmlp.estimators.parameters import one_of, parameter, takes_parameters
from fastmlp.kernels.activations import ACTIVATIONS
from fastmlp.kernels.own_activation import Activation
from fastmlp.training.initialization import LAYER_RULES
from fastmlp.training.weights import FLOAT32, FLOAT64

_COUNT = Interval(Integral, 1, None, closed="left")
_POSITIVE = Interval(Real, 0, None, closed="neither")
_NOT_NEGATIVE = Interval(Real, 0, None, closed="left")
_SHARE = Interval(Real, 0, 1, closed="left")


@takes_parameters
class MLPParameters:
    """Parameters of a multilayer perceptron: scikit-learn's, in its order, and own ones."""

    hidden_layer_sizes: Any = parameter(
        (100,),
        ["array-like", _COUNT],
        "Units of each hidden layer. ``()`` has none, and is logistic regression.",
        group="network",
        type_text="int or array-like of int",
    )
    activation: str | Activation | Sequence[str | Activation] = parameter(
        "relu",
        [one_of(*ACTIVATIONS), Activation, "array-like"],
        'What hidden units do with their input z: "identity" z, "logistic" 1 / (1 + exp(−z)), '
        '"tanh", "relu" max(0, z); "leaky_relu" with the slope 0.01 below 0; "elu" and "selu", '
        'which end at −1 and −1.76 below; "softplus" log(1 + exp(z)); and the smooth relatives of '
        'relu, "gelu" z Φ(z), "gelu_tanh", its older approximation, "silu" z σ(z), and "mish" '
        "z tanh(softplus(z)). Or an `Activation` of your own. A sequence has one for each hidden "
        "layer.",
        group="network",
        type_text="str, Activation, or array-like of these",
    )
    _: KW_ONLY
    solver: str = parameter(
        "adam",
        one_of("lbfgs", "sgd", "adam"),
        "How the loss is minimised: by L-BFGS-B over all rows at once, or over minibatches by "
        "gradient descent with momentum or by Adam.",
    )
    alpha: float = parameter(
        0.0001,
        _NOT_NEGATIVE,
        "Strength of the L2 penalty on the weights: ``alpha / 2 · Σ‖W‖²`` is added to the sum of "
        "the losses of a minibatch. Biases are not penalised.",
        group="regularisation",
    )
    batch_size: int | str = parameter(
        "auto",
        [one_of("auto"), _COUNT],
        'Rows of a minibatch; ``"auto"`` is ``min(200, n_samples)``. L-BFGS has no minibatches.',
    )
    learning_rate: str | Callable[[float], float] = parameter(
        "constant",
        [one_of("constant", "invscaling", "adaptive", "cosine"), callable],
        'How the learning rate goes on from `learning_rate_init`. For "sgd", as in scikit-learn, '
        "it stays, it falls with the number t of rows seen as ``learning_rate_init / (t + 1)**"
        'power_t``, or it is divided by 5 at each plateau, until it is at most 1e-6; for "adam", '
        'these names are all the same. For both, "cosine" lowers it to 0 over `max_iter` epochs '
        "along half a wave, and a function is given the share of that training which is done, in "
        "[0, 1], before each update, and returns a factor. Worth a try where `max_iter` is known: "
        "a falling rate often ends in a better model, and `max_iter` is then no lack of "
        "convergence.",
        type_text='{"constant", "invscaling", "adaptive", "cosine"} or callable',
    )
    learning_rate_init: float = parameter(
        0.001, _POSITIVE, 'The learning rate of the first epoch, for "sgd" and "adam".'
    )
    power_t: float = parameter(
        0.5, _NOT_NEGATIVE, 'The exponent of ``learning_rate="invscaling"``.'
    )
    max_iter: int = parameter(
        200, _COUNT, "The most epochs, or iterations of L-BFGS.", group="stopping"
    )
    shuffle: bool = parameter(
        True, "boolean", "Whether each epoch goes through the rows in a new order."
    )
    random_state: int | np.random.RandomState | None = parameter(
        None,
        "random_state",
        "Where the first weights, the split for early stopping and the order of the rows are drawn "
        "from. An int gives the same model each time, with any number of threads.",
    )
    tol: float = parameter(
        1e-4,
        _NOT_NEGATIVE,
        "The least improvement that counts. For L-BFGS, the largest entry of the gradient at which "
        "it stops.",
        group="stopping",
    )
    verbose: bool | int = parameter(
        False,
        "verbose",
        "Whether to print a line for each epoch: losses, the score on the validation rows (with a "
        "star where it is the best so far), the learning rate, and the time that it took.",
        group="machine",
    )
    warm_start: bool = parameter(
        False, "boolean", "Whether `fit` goes on from the weights of the previous call."
    )
    momentum: float = parameter(
        0.9,
        Interval(Real, 0, 1, closed="both"),
        'The share of a step of "sgd" that goes on into the next; in [0, 1].',
    )
    nesterovs_momentum: bool = parameter(
        True, "boolean", 'Whether "sgd" takes the gradient\'s step from where the momentum leads.'
    )
    early_stopping: bool = parameter(
        False,
        "boolean",
        "Whether to stop when the accuracy, or what `scoring` names, no longer improves on rows "
        "that are held out or given to `fit` as `X_val`, and to keep the weights of the best "
        'epoch. "sgd" and "adam" only.',
        group="stopping",
    )
    validation_fraction: float = parameter(
        0.1, _SHARE, "The share of the rows to hold out for early stopping.", group="stopping"
    )
    beta_1: float = parameter(0.9, _SHARE, "Decay of Adam's mean of gradients; in [0, 1).")
    beta_2: float = parameter(
        0.999, _SHARE, "Decay of Adam's mean of squared gradients; in [0, 1)."
    )
    epsilon: float = parameter(1e-8, _POSITIVE, "Added to the denominator of Adam's step.")
    n_iter_no_change: float = parameter(
        10,
        [_COUNT, Options(Real, {np.inf})],
        "Training stops where more than this many epochs in a row improve by less than `tol`.",
        group="stopping",
    )
    max_fun: int = parameter(
        15000, _COUNT, "The most evaluations of the loss by L-BFGS.", group="stopping"
    )
    dtype: Any = parameter(
        "auto",
        [
            one_of("auto", "float32", "float64"),
            Options(type, {np.float32, np.float64, float}),
            Options(np.dtype, {FLOAT32, FLOAT64}),
        ],
        'The floating-point format of the weights and of all work. "auto" is float32 for a float32 '
        'X and float64 for any other. L-BFGS always works in float64, and with "auto" its weights '
        "stay float64.",
        group="machine",
        type_text='"auto", "float32", "float64" or the NumPy dtype',
    )
    weight_init: str = parameter(
        "glorot_uniform",
        one_of(*LAYER_RULES),
        'How weights start. "glorot_uniform" is scikit-learn\'s start, biases included; the others '
        "start with biases of 0.",
        group="network",
    )
    n_threads: int | None = parameter(
        None,
        [None, _COUNT, Interval(Integral, None, -1, closed="right")],
        "The most threads to use. None and -1 are numba's number of threads, -2 is one less, and "
        "so on. The number changes no result.",
        group="machine",
        type_text="int or None",
    )
    class_weight: dict[Any, float] | str | None = parameter(
        None,
        [dict, one_of("balanced"), None],
        "Weights of the classes, multiplied with those of the rows, of validation rows as well. "
        '"balanced" gives both classes the same total weight; a class that a dict leaves out has '
        "weight 1. Use it where one class is rare and matters more than its share; probabilities "
        "are then those of the weighted data.",
        type_text='dict, "balanced" or None',
    )
    scoring: str | Callable[..., float] | None = parameter(
        None,
        [StrOptions({*get_scorer_names(), "loss"}), callable, None],
        "What early stopping goes by: the accuracy (None), the loss, the name of a scorer of "
        "scikit-learn, or a function ``scoring(estimator, X, y)``, which also gets the weights of "
        "the rows if it takes `sample_weight`. Higher is better. Set it where accuracy is not what "
        'the model is for: "loss" for good probabilities, "roc_auc" for a good order.',
        group="stopping",
        type_text='"loss", str, callable or None',
    )
    warmup: float = parameter(
        0.0,
        Interval(Real, 0, 1, closed="both"),
        "The share of the training, of `max_iter` epochs, over which the learning rate rises to "
        "its whole. Use it where large rates make the first epochs diverge.",
    )
    dropout: float | Sequence[float] = parameter(
        0.0,
        [_SHARE, "array-like"],
        "The share of hidden units that each minibatch leaves out at random, in [0, 1): one for "
        "all layers, or one each. Those that stay are multiplied by ``1 / (1 − dropout)``; "
        "prediction uses all. Try 0.1 to 0.5 where a wide network fits its training rows better "
        "than others. Which units stay depends on seed, update, row and unit alone.",
        group="regularisation",
        type_text="float or array-like of float",
    )
    input_dropout: float = parameter(
        0.0,
        _SHARE,
        "The same of the features of a dense X: makes a model that leans on no single one.",
        group="regularisation",
    )
    weight_decay: float = parameter(
        0.0,
        _NOT_NEGATIVE,
        "Weights, not biases, are multiplied by ``1 − learning rate · weight_decay`` ahead of each "
        'update [4]_. With "adam" and ``alpha=0`` this is AdamW, which often needs no other '
        "regularisation; 0.01 to 0.1 is usual.",
        group="regularisation",
    )
    ema_decay: float | None = parameter(
        None,
        [None, _SHARE],
        "Make the model an exponential average of the weights over the updates, d of which stays "
        "at each: ``Σ dᵗ⁻ⁱ wᵢ / Σ dᵗ⁻ⁱ``, corrected for its start as Adam's moments [2]_. It is "
        "what validates and predicts; training goes on from the newest weights. Try 0.99 to 0.999 "
        "where scores jump from epoch to epoch.",
        group="regularisation",
    )
    max_grad_norm: float | None = parameter(
        None,
        [None, _POSITIVE],
        "The largest norm that the gradient of a minibatch may have, over all weights and biases "
        "together: a longer one is scaled down. Set it, to 1 for a start, where the loss jumps.",
        group="regularisation",
    )
    label_smoothing: float = parameter(
        0.0,
        _SHARE,
        "Move targets towards ½: 1 counts as ``1 − label_smoothing / 2``, and 0 as its complement, "
        "in the training loss. For labels of which some are wrong; probabilities then keep away "
        "from 0 and 1.",
        group="regularisation",
    )
    n_init: int = parameter(
        1,
        _COUNT,
        "How many random starts `fit` trains from, to keep the one of the best score with early "
        "stopping, else of the lowest loss (the loss is not convex). They are trained side by "
        "side where threads are left. The first start is that of ``n_init=1``. A warm start goes "
        "on from the weights that it has, once.",
    )
