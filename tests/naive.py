"""The whole system once more, in plain NumPy: slow, obvious, and the judge of the compiled code.

The first half is the derivation in its own notation, one row at a time: N1 to N9 of the notes, and
two oracles for the gradients. The second half is the same for a minibatch, the optimizers, and
`NaiveSession`, which does what `fastmlp.network.session.Session` does.

Weights are stored as in scikit-learn, ``coefs[l - 1]`` = W⁽ˡ⁾ᵀ of shape (fan_in, fan_out).
"""

from dataclasses import dataclass, field

import numpy as np
import scipy.sparse

# --- One row: the notes -------------------------------------------------------------------------


def sigmoid(z):
    """σ(z) = 1 / (1 + exp(−z)) (N5), without overflow."""
    z = np.asarray(z)
    tail = np.exp(-np.abs(z))
    return np.where(z >= 0, 1 / (1 + tail), tail / (1 + tail))


def activate(activation, z):
    """g(z) of a hidden layer (N5)."""
    if activation == "identity":
        return z
    if activation == "logistic":
        return sigmoid(z).astype(z.dtype)
    if activation == "tanh":
        return np.tanh(z)
    if activation == "relu":
        return np.maximum(z, 0)
    raise ValueError(activation)


def slope(activation, a):
    """g′(z), written in terms of a = g(z)."""
    if activation == "identity":
        return np.ones_like(a)
    if activation == "logistic":
        return a * (1 - a)
    if activation == "tanh":
        return 1 - a**2
    if activation == "relu":
        return (a > 0).astype(a.dtype)
    raise ValueError(activation)


def forward_row(x, coefs, intercepts, activations):
    """N1: z⁽ˡ⁾ = W⁽ˡ⁾a⁽ˡ⁻¹⁾ + b⁽ˡ⁾ and a⁽ˡ⁾ = g(z⁽ˡ⁾), for l = 1 … L.

    Returns the lists [z⁽¹⁾, …] and [a⁽⁰⁾, a⁽¹⁾, …]; the last a is ŷ.
    """
    zs, layers = [], [np.asarray(x)]
    for layer, (weights, bias) in enumerate(zip(coefs, intercepts, strict=True)):
        z = weights.T @ layers[-1] + bias
        zs.append(z)
        is_output = layer == len(coefs) - 1
        layers.append(sigmoid(z) if is_output else activate(activations[layer], z))
    return zs, layers


def cross_entropy_row(y, p):
    """N2: −[y log p + (1 − y) log(1 − p)]."""
    return -(y * np.log(p) + (1 - y) * np.log(1 - p))


def loss_row(x, y, coefs, intercepts, activations):
    """N2 of N1: the loss of a row as a function of the parameters."""
    return cross_entropy_row(y, forward_row(x, coefs, intercepts, activations)[1][-1][0])


def deltas_row(y, coefs, activations, layers):
    """N6, δ⁽ᴸ⁾ = ŷ − y, and N8, δ⁽ˡ⁾ = (W⁽ˡ⁺¹⁾ᵀδ⁽ˡ⁺¹⁾) ⊙ g′(z⁽ˡ⁾). Returns [δ⁽¹⁾, …, δ⁽ᴸ⁾]."""
    deltas = [layers[-1] - y]
    for layer in range(len(coefs) - 1, 0, -1):
        back = coefs[layer] @ deltas[0]
        deltas.insert(0, back * slope(activations[layer - 1], layers[layer]))
    return deltas


def gradients_row(x, y, coefs, intercepts, activations):
    """N9: ∂ℒ/∂W_ij⁽ˡ⁾ = δ_i⁽ˡ⁾ a_j⁽ˡ⁻¹⁾ and ∂ℒ/∂b⁽ˡ⁾ = δ⁽ˡ⁾."""
    _, layers = forward_row(x, coefs, intercepts, activations)
    deltas = deltas_row(y, coefs, activations, layers)
    coef_gradients = []
    for layer, delta in enumerate(deltas):
        gradient = np.empty_like(coefs[layer])
        for j, a in enumerate(layers[layer]):
            for i, d in enumerate(delta):
                gradient[j, i] = d * a
        coef_gradients.append(gradient)
    return coef_gradients, deltas


# --- One row: the oracles -----------------------------------------------------------------------


def jacobian_chain_row(x, y, coefs, intercepts, activations):
    """N7: the gradients as explicit products of Jacobian blocks, one chain for each parameter."""
    _, layers = forward_row(x, coefs, intercepts, activations)
    p = layers[-1][0]
    # ∂ℒ/∂a⁽ᴸ⁾ and the sigmoid's own diag(g′): nothing of N6 is used.
    head = np.array([[-y / p + (1 - y) / (1 - p)]]) @ np.array([[p * (1 - p)]])
    coef_gradients, bias_gradients = [], []
    for layer, weights in enumerate(coefs):
        fan_in, fan_out = weights.shape
        coef_gradient, bias_gradient = np.empty((fan_in, fan_out)), np.empty(fan_out)
        for i in range(fan_out):
            basis = np.eye(fan_out)[:, [i]]
            for j in range(fan_in + 1):
                # ∂z⁽ˡ⁾/∂W_ij = a_j e_i, and ∂z⁽ˡ⁾/∂b_i = e_i.
                column = basis * (layers[layer][j] if j < fan_in else 1.0)
                for later in range(layer + 1, len(coefs)):
                    column = np.diag(slope(activations[later - 1], layers[later])) @ column
                    column = coefs[later].T @ column
                value = (head @ column).item()
                if j < fan_in:
                    coef_gradient[j, i] = value
                else:
                    bias_gradient[i] = value
        coef_gradients.append(coef_gradient)
        bias_gradients.append(bias_gradient)
    return coef_gradients, bias_gradients


def finite_differences(loss, coefs, intercepts, step=1e-6):
    """Central differences of ``loss(coefs, intercepts)`` for every parameter."""
    parameters = [np.array(array, dtype=np.float64) for array in (*coefs, *intercepts)]
    n_layers = len(coefs)
    gradients = []
    for array in parameters:
        gradient = np.empty_like(array)
        for index in np.ndindex(array.shape):
            value = array[index]
            array[index] = value + step
            above = loss(parameters[:n_layers], parameters[n_layers:])
            array[index] = value - step
            below = loss(parameters[:n_layers], parameters[n_layers:])
            array[index] = value
            gradient[index] = (above - below) / (2 * step)
        gradients.append(gradient)
    return gradients[:n_layers], gradients[n_layers:]


# --- A minibatch --------------------------------------------------------------------------------


def forward(X, coefs, intercepts, activations):
    """N1 for the rows of X. Returns the logits (n, 1) and the layers [X, a⁽¹⁾, …, ŷ]."""
    layers = [X]
    for layer, (weights, bias) in enumerate(zip(coefs, intercepts, strict=True)):
        z = layers[-1] @ weights + bias
        is_output = layer == len(coefs) - 1
        layers.append(sigmoid(z).astype(z.dtype) if is_output else activate(activations[layer], z))
    return z, layers


def clipped_cross_entropy(y, p):
    """N2 a row, with p kept a rounding unit away from 0 and 1, as scikit-learn does."""
    eps = np.finfo(p.dtype).eps
    p = np.clip(p, eps, 1 - eps)
    return -np.where(y > 0, np.log(p), np.log(1 - p))


def cross_entropy_of_logit(y, z):
    """N2 a row, with p = σ(z) kept a rounding unit away from 0 and 1, as scikit-learn does.

    1 − p is σ(−z): the difference would lose digits where p is near 1.
    """
    eps = np.finfo(z.dtype).eps
    p = sigmoid(np.where(y > 0, z, -z)).astype(z.dtype)
    return -np.log(np.clip(p, eps, 1 - eps))


def loss_and_gradients(X, y, sample_weight, coefs, intercepts, activations, alpha):
    """The loss of a minibatch and its gradients.

    The loss is the weighted mean of N2, plus ½ alpha Σ‖W‖² over the sum of the weights. Returns
    the loss and the lists of gradients with respect to coefs and intercepts.
    """
    dtype = coefs[0].dtype
    weight = np.ones(len(X)) if sample_weight is None else sample_weight
    total = weight.sum()
    z, layers = forward(X, coefs, intercepts, activations)
    penalty = sum(float((weights.astype(np.float64) ** 2).sum()) for weights in coefs)
    loss = (weight * cross_entropy_of_logit(y, z[:, 0])).sum() / total
    loss += 0.5 * alpha * penalty / total

    delta = ((layers[-1][:, 0] - y) * weight).astype(dtype)[:, None]
    coef_gradients, bias_gradients = [], []
    for layer in range(len(coefs) - 1, -1, -1):
        coef_gradients.insert(0, (layers[layer].T @ delta + alpha * coefs[layer]) / total)
        bias_gradients.insert(0, delta.sum(axis=0) / total)
        if layer > 0:
            delta = (delta @ coefs[layer].T) * slope(activations[layer - 1], layers[layer])
    return float(loss), (
        [gradient.astype(dtype) for gradient in coef_gradients],
        [gradient.astype(dtype) for gradient in bias_gradients],
    )


# --- Optimizers, for one array of parameters ----------------------------------------------------


def gradient_descent_step(parameter, gradient, rate):
    """N4: θ − rate·∂ℒ/∂θ."""
    return parameter - rate * gradient


def sgd_step(parameter, gradient, velocity, rate, momentum, nesterov):
    """Gradient descent with momentum. Returns the new parameter and velocity."""
    velocity = momentum * velocity - rate * gradient
    step = momentum * velocity - rate * gradient if nesterov else velocity
    return parameter + step, velocity


def adam_step(parameter, gradient, first, second, step, rate, beta_1, beta_2, epsilon):
    """Adam's update number `step`, from 1. Returns the new parameter and moments."""
    first = beta_1 * first + (1 - beta_1) * gradient
    second = beta_2 * second + (1 - beta_2) * gradient**2
    rate = float(rate * np.sqrt(1 - beta_2**step) / (1 - beta_1**step))
    return parameter - rate * first / (np.sqrt(second) + epsilon), first, second


# --- The session --------------------------------------------------------------------------------


class NaiveRows:
    """Rows of X, all copied to one dense array."""

    def __init__(self, X, dtype):
        X = X.toarray() if scipy.sparse.issparse(X) else np.asarray(X)
        self.X = X.astype(dtype)
        self.n_samples, self.n_features = X.shape


@dataclass
class NaiveState:
    """Where a training stands: vectors of all weights, and then all biases."""

    step: int
    parameters: np.ndarray = field(default_factory=lambda: np.empty(0))
    moments: list = field(default_factory=list)


class NaiveSession:
    """What a `fastmlp.network.session.Session` does, for anything with a Network's attributes."""

    def __init__(self, network, n_threads=None):
        self.network = network
        self.dtype = np.dtype(network.dtype)

    def set_parameters(self, coefs, intercepts):
        self.coefs = [np.array(weights, dtype=self.dtype) for weights in coefs]
        self.intercepts = [np.array(bias, dtype=self.dtype) for bias in intercepts]

    def get_parameters(self):
        return [c.copy() for c in self.coefs], [b.copy() for b in self.intercepts]

    def prepare(self, rows, targets, sample_weight, batch_size, *, alpha, optimizer):
        self.feed(rows, targets, sample_weight)
        self.batch_size, self.alpha, self.optimizer = batch_size, alpha, optimizer
        zeros = [np.zeros_like(array) for array in (*self.coefs, *self.intercepts)]
        n_moments = 1 if optimizer.solver == "sgd" else 2
        self.moments = [[array.copy() for array in zeros] for _ in range(n_moments)]
        self.step = 0

    def feed(self, rows, targets, sample_weight=None):
        self.X, self.y, self.sample_weight = rows.X, targets, sample_weight

    def train_epoch(self, order, learning_rate):
        loss, n_used = 0.0, 0
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            weight = None if self.sample_weight is None else self.sample_weight[batch]
            if weight is not None and not weight.any():
                continue
            batch_loss, gradients = loss_and_gradients(
                self.X[batch],
                self.y[batch],
                weight,
                self.coefs,
                self.intercepts,
                self.network.activations,
                self.alpha,
            )
            loss += batch_loss * len(batch)
            n_used += len(batch)
            self._update(gradients, learning_rate)
        return loss / n_used if n_used else 0.0

    def _update(self, gradients, rate):
        self.step += 1
        opt = self.optimizer
        parameters = [*self.coefs, *self.intercepts]
        for k, gradient in enumerate([*gradients[0], *gradients[1]]):
            moments = [moment[k] for moment in self.moments]
            if opt.solver == "sgd":
                settings = (rate, opt.momentum, opt.nesterov)
                new, *moments = sgd_step(parameters[k], gradient, *moments, *settings)
            else:
                settings = (self.step, rate, opt.beta_1, opt.beta_2, opt.epsilon)
                new, *moments = adam_step(parameters[k], gradient, *moments, *settings)
            parameters[k][...] = new
            for moment, value in zip(self.moments, moments, strict=True):
                moment[k] = value.astype(self.dtype)

    def end_training(self):
        pass

    def state(self):
        parameters, *moments = (
            np.concatenate([np.ravel(array) for array in arrays])
            for arrays in ((*self.coefs, *self.intercepts), *self.moments)
        )
        return NaiveState(self.step, parameters, moments)

    def load(self, state):
        self.step = state.step
        places = [*self.coefs, *self.intercepts]
        self._fill(places, state.parameters)
        for moment, flat in zip(self.moments, state.moments, strict=True):
            self._fill(moment, flat)

    def _fill(self, arrays, flat):
        start = 0
        for array in arrays:
            array[...] = flat[start : start + array.size].reshape(array.shape)
            start += array.size

    def loss_and_gradient(self):
        return loss_and_gradients(
            self.X,
            self.y,
            self.sample_weight,
            self.coefs,
            self.intercepts,
            self.network.activations,
            self.alpha,
        )

    def _forward(self, rows, order):
        X = rows.X if order is None else rows.X[order]
        return forward(X, self.coefs, self.intercepts, self.network.activations)

    def logits(self, rows, order=None):
        return self._forward(rows, order)[0][:, 0]

    def probabilities(self, rows, order=None):
        p = self._forward(rows, order)[1][-1][:, 0]
        return np.column_stack([1 - p, p])
