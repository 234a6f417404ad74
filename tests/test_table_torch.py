"""A network behind embedded columns beside the same network in torch, which derives by itself.

Nothing is shared with `tests.tables` but its random cases: numbers are encoded bin by bin into a
matrix, levels are looked up, and members are an axis.
"""

import numpy as np
import pytest

from fastmlp.data.rows import as_rows
from fastmlp.kernels import encode
from fastmlp.network.regularisation import Regularisation
from fastmlp.network.session import Optimizer, Session
from tests import tables

torch = pytest.importorskip("torch")


class Twin:
    """A network for a case, with parameters that torch trains.

    weights, biases : as the session has them: of the layers, then V; of the layers, then w₀ with
    b₀, and r
    """

    def __init__(self, case, parameters):
        self.case = case
        self.weights, self.biases = (
            [torch.tensor(array, requires_grad=True) for array in arrays] for arrays in parameters
        )

    def steps(self):
        """V of each embedded column: the padding between them is left out."""
        encoder = self.case.network.encoder
        sizes = [rows * encoder.width for rows in encoder.rows]
        padded = self.weights[-1].reshape(-1)
        starts = encoder.places["table"] * encoder.shape_of_table[1]
        for start, size in zip(starts.tolist(), sizes, strict=True):
            yield padded[start : start + size].reshape(-1, encoder.width)

    def embed(self, X):
        """All columns of rows: (rows, n_out)."""
        encoder, columns = self.case.network.encoder, self.case.columns
        n_embedded = len(encoder.rows)
        linear = self.biases[-2].reshape(n_embedded, 2, encoder.width)
        embedded = zip(columns.columns[:n_embedded], self.steps(), linear, strict=True)
        parts = []
        for column, V, (w, b) in embedded:
            x = X[:, column["source"]]
            if column["kind"] == encode.NUMBER:
                parts.append(self.number(column, x, V, w) + b)
            else:
                parts.append(torch.nn.functional.embedding(self.level(column, x), V) + b)
        parts += [plain(column, X[:, column["source"]]) for column in columns.columns[n_embedded:]]
        return torch.cat(parts, dim=1)

    def number(self, column, x, V, w):
        """A piecewise-linear embedding, without its bias."""
        edges = torch.tensor(self.case.columns.edges[column["start"] :][: column["edges"]])
        gaps, x = torch.isnan(x)[:, None], x.nan_to_num(0)  # a NaN has NaN for a gradient
        shares = ((x[:, None] - edges[:-1]) / torch.diff(edges)).clamp(0, 1)
        z = (x - column["center"]) / column["scale"]
        e = (z / torch.sqrt(1 + (z / 3) ** 2))[:, None] * w + shares @ V[:-1]
        return torch.where(gaps, V[-1], e)

    def level(self, column, x):
        """The row of V that each level has; codes beyond those known, and gaps, have their own."""
        rows = torch.tensor(self.case.columns.level_rows[column["level"] :])
        code = x.nan_to_num(0).clamp(max=column["levels"]).long()
        return torch.where(torch.isnan(x), rows[column["levels"] + 1], rows[code])

    def loss(self, rows, weight=None):
        """Mean cross-entropy of rows over all members."""
        X, y = (torch.tensor(array)[rows] for array in (self.case.X, self.case.y.astype(float)))
        a = self.embed(X)[:, None, :] * self.biases[-1]
        n_layers = self.case.network.n_layers
        for W, b in zip(self.weights[: n_layers - 1], self.biases[: n_layers - 1], strict=True):
            a = torch.relu(a @ W + b)
        # Each member has a column of the last weights, and a bias.
        z = (a * self.weights[n_layers - 1].T).sum(dim=2) + self.biases[n_layers - 1]
        of_rows = torch.nn.functional.binary_cross_entropy_with_logits(
            z, y[:, None].expand_as(z), reduction="none"
        ).mean(dim=1)
        weight = torch.ones(len(rows)) if weight is None else torch.tensor(weight)[rows]
        return (weight * of_rows).sum() / weight.sum()


def plain(column, x):
    """A column of two values, as −1 and 1; gaps are 0, and so are other levels."""
    low, high = column["low"], column["high"]
    value = (2 * (x - low) / (high - low) - 1).clamp(-1, 1)
    known = ~torch.isnan(x)
    if column["kind"] == encode.PLAIN_CATEGORY:
        known = (x == low) | (x == high)
    return torch.where(known, torch.nan_to_num(value), 0.0)[:, None]


def given(members, seed=0, **more):
    rng = np.random.default_rng(seed)
    case = tables.random_case(rng, members=members, n_rows=180, **more)
    return rng, case, tables.random_parameters(case.network, rng)


def session_of(case, parameters, weight, batch_size, optimizer, **more):
    session = Session(case.network, 1, columns=case.columns)
    session.set_parameters(*parameters)
    rows = as_rows(case.X, case.network.dtype)
    session.prepare(rows, case.y, weight, batch_size, alpha=0, optimizer=optimizer, **more)
    return session


def assert_parameters(session, twin, **tolerance):
    for ours, theirs in zip(session.get_parameters(), (twin.weights, twin.biases), strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, other.detach().numpy(), **tolerance)


@pytest.mark.parametrize("members", [1, 3, 8])
@pytest.mark.parametrize("width", [8, 16])
@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_loss_and_gradients(members, width, plain, weighted):
    rng, case, parameters = given(members, width=width, plain=plain)
    rows = rng.permutation(180)
    weight = rng.uniform(0.5, 2, 180) if weighted else None
    session = session_of(
        case, parameters, weight, 180, Optimizer("sgd", momentum=0.0, nesterov=False)
    )
    loss = session.train_epoch(rows, 1.0)  # what is taken away is the gradient
    twin = Twin(case, parameters)
    expected = twin.loss(rows, weight)
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    found = session.get_parameters()
    for before, after, tensors in zip(parameters, found, (twin.weights, twin.biases), strict=True):
        for one, other, tensor in zip(before, after, tensors, strict=True):
            assert np.any(tensor.grad.numpy())
            np.testing.assert_allclose(one - other, tensor.grad.numpy(), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("members", [1, 3, 8])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_steps_of_adamw(members, decay):
    """Three minibatches; matrices and V decay, and neither biases, w₀ and b₀ nor r do."""
    rng, case, parameters = given(members, seed=1)
    order, rate = rng.permutation(180), 0.01
    session = session_of(
        case, parameters, None, 60, Optimizer(beta_2=0.95, epsilon=1e-300),
        regularisation=Regularisation(weight_decay=decay),
    )  # fmt: skip
    session.train_epoch(order, rate)
    twin = Twin(case, parameters)
    groups = [
        {"params": twin.weights, "weight_decay": decay},
        {"params": twin.biases, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), eps=1e-300)
    for k in range(0, 180, 60):
        optimizer.zero_grad()
        twin.loss(order[k : k + 60]).backward()
        optimizer.step()
    assert_parameters(session, twin, rtol=1e-9, atol=1e-11)
