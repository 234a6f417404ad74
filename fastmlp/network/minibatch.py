"""What the steps of a minibatch of training are.

A minibatch has two phases. Phase 1 takes blocks of rows through forward pass, loss and δ recursion;
phase 2 takes blocks of weights through gradient and update. Where gradients are summed by blocks of
rows, they belong to phase 1, and phase 2 adds them up. Where the norm of the gradient is limited,
phase 2 ends with the gradient, phase 3 takes the norm of all of it, and phase 4 makes the update.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from fastmlp.kernels import encode, loss, sparse, updates
from fastmlp.kernels import layer as dense
from fastmlp.kernels.piece import Piece
from fastmlp.kernels.simd.vector import PANEL
from fastmlp.network.buffers import Activations, Buffers, Rooms, Table, column, contiguous
from fastmlp.network.layers import NetworkRecords
from fastmlp.network.layout import Layout
from fastmlp.network.plan import BIAS, COLUMNS, FACTORS, GRADIENT_ROWS, MATRIX, Plan, weight_units
from fastmlp.network.program import Program, Record, Ref, Segment, Step
from fastmlp.network.regularisation import NONE, Regularisation

_ITEMSIZE = 8  # of squares of norms


@dataclass(frozen=True)
class Update:
    """Which update a training makes, with its constants (`kernels.updates.CONSTANTS`)."""

    piece: Piece | None
    alpha: float = 0.0
    constants: tuple[float, ...] = (0.0,) * len(updates.CONSTANTS)
    regularisation: Regularisation = NONE
    encoder_speed: float = 1.0

    @property
    def clips(self) -> bool:
        """Whether the norm of the gradient is limited."""
        return self.piece is not None and self.regularisation.max_grad_norm is not None

    @property
    def adds_penalty(self) -> bool:
        """Whether gradients have their L2 term ahead of the update: a decay or a norm is next."""
        return self.alpha > 0 and (self.clips or self.regularisation.weight_decay > 0)

    @property
    def in_buffer(self) -> bool:
        """Whether the gradients of all weights are there at once, in a buffer."""
        return self.piece is None or self.clips


@lru_cache(maxsize=32)
def training_program(
    layout: Layout, source: np.dtype[Any] | None, plan: Plan, update: Update
) -> tuple[Program, Buffers]:
    """The program of a minibatch of training, and the sizes of its buffers.

    An update without a piece leaves the weights alone: gradients of all minibatches are added up in
    the buffer of gradients.
    """
    # Of blocks, gradients replace what is there.
    assert not (plan.by_block and update.piece is None)
    encodes = layout.network.encoder is not None
    rows = Activations(layout, plan.block_rows, plan.n_blocks, with_input=encodes)
    table = Table(layout, plan.block_rows, plan.n_blocks)
    net = NetworkRecords(layout, source, rows, update.regularisation, table)
    rooms = Rooms(layout)
    size_of_block = layout.size if plan.by_block else 0
    minibatch = Minibatch(net, plan, update, rooms)
    program = net.writer.finish(minibatch.phases(), waits=True)
    return program, Buffers(
        rows.size, rows.size if encodes else rows.hidden, rooms.size * plan.n_units,
        size_of_block * plan.n_blocks, plan.n_blocks * plan.block_rows, table.sizes,
    )  # fmt: skip


def _steps(parts: Sequence[Any], layer: int, *, bias: bool) -> tuple[Step, ...]:
    """The steps that some methods of a `Minibatch` say, one after another."""
    return tuple(step for part in parts for step in part(layer, bias=bias))


class Minibatch:
    """The phases of a minibatch."""

    def __init__(self, net: NetworkRecords, plan: Plan, update: Update, rooms: Rooms) -> None:
        self.net, self.plan, self.update, self.rooms = net, plan, update, rooms
        self._records: dict[tuple[int, bool, float], Record] = {}
        kind = net.dtype.name
        first_rows = np.cumsum([0, *net.layout.stored_rows])
        self.n_squares = int(first_rows[-1])
        fields = []
        encodes = net.network.encoder is not None
        for layer in range(net.last + 1):
            copy = net.layout.copies[layer]
            squares = Ref("squares", _ITEMSIZE * int(first_rows[layer]))
            fields.append(
                {
                    **net.forward_fields(layer, column("logits", net.dtype, advance=1)),
                    **self._gradient_fields(layer),
                    **(net.backward_fields(layer, copy) if layer > 0 or encodes else {}),
                    "output_delta": {kind: Ref("output_delta")},
                    "one": {kind: Ref("one")},
                    "zeros": net.zeros(),
                    "squares": {"float64": squares},
                    "with_squares": update.alpha > 0,
                    "adds": update.piece is None,
                }
            )
        self.records = [net.layer_record(k, values) for k, values in enumerate(fields)]
        # The gradients of a block of rows go to a room of the block's own.
        self.of_block = [
            Record(record.dtype, {**record.values, **self._block_gradients(k)})
            for k, record in enumerate(self.records)
        ] if plan.by_block else []  # fmt: skip
        low, high = update.regularisation.targets
        buffers = ("target", "weight", "loss")
        self.output = net.loss_record(
            targets={"bool": Ref("targets")},
            sample_weight={"float64": Ref("sample_weight")},
            logits=column("logits", net.dtype, advance=1),
            squares={"float64": Ref("squares")},
            n_squares=self.n_squares,
            low=low,
            high=high,
            delta={kind: Ref("output_delta")},
            **{name: {kind: Ref(name)} for name in buffers},
        )

    def phases(self) -> list[list[list[Segment]]]:
        """All phases, each a list of units."""
        rows = self.row_phase()
        if not self.update.clips:
            return [rows, self._weight_phase(self._gradient, self._penalty, self._update)]
        gradients = self._weight_phase(self._gradient, self._penalty, self._norm)
        norm = [[Segment((Step(updates.clip, self._clip_record()),), 0, 1, 1)]]
        return [rows, gradients, norm, self._weight_phase(self._update)]

    # -- phase 1 -----------------------------------------------------------------------------------
    def row_phase(self) -> list[list[Segment]]:
        """Forward pass, loss, δ recursion; with gradients summed by block, these too."""
        net, plan = self.net, self.plan
        steps = [*net.forward_steps(self.records), Step(loss.output_delta, self.output)]
        encodes = net.network.encoder is not None
        for layer in range(net.last, -1 if encodes else 0, -1):
            steps += net.backward_steps(self.records, layer)
        if encodes:
            steps.append(Step(encode.gather, net.encoding))
        for layer, record in enumerate(self.of_block):
            last = layer == net.last
            piece = dense.output_gradient if last else dense.gradient_of_block
            steps.append(Step(piece, record))
        units = [
            [
                Segment(
                    tuple(steps), low * plan.block_rows,
                    min(high * plan.block_rows, plan.batch_size), plan.block_rows, at=low,
                    at_advance=1, of_rows=True,
                )
            ]
            for low, high in plan.row_units()
        ]  # fmt: skip
        if self.update.alpha > 0 or self.update.piece is None:
            units[0].append(Segment((Step(loss.sum_squares, self.output),), 0, 1, 1))
        return units

    # -- phases of weights -------------------------------------------------------------------------
    def _weight_phase(self, *parts: Any) -> list[list[Segment]]:
        """A phase over blocks of weights: the steps that these methods say, one after another."""
        begins = parts[0] == self._gradient
        units = []
        for number, blocks in enumerate(weight_units(self.net.layout, self.plan)):
            segments = []
            for what, layer, first, end in blocks:
                if what == COLUMNS:
                    segments += self._column_segments(first, end)
                    continue
                if what == FACTORS:
                    segments.append(Segment(self._factor_steps(), 0, end, end))
                    continue
                if what == MATRIX:
                    if begins:
                        segments += self._ahead_of_gradient(layer, first, end, number)
                    rows = end if layer == self.net.last else GRADIENT_ROWS
                    segments.append(
                        Segment(_steps(parts, layer, bias=False), first, end, rows, at=number)
                    )
                if what == BIAS or layer == self.net.last:
                    segments.append(Segment(_steps(parts, layer, bias=True), 0, 1, 1, at=number))
            units.append([segment for segment in segments if segment.steps])
        if begins:
            units[0].append(Segment((Step(loss.sum_losses, self.output),), 0, 1, 1))
        return units

    def _column_segments(self, first: int, end: int) -> list[Segment]:
        """Gradient and update of some columns of a table, and what is derived from them."""
        encoder, at = self.net.network.encoder, self.net.last + 1
        assert encoder is not None
        places = encoder.places
        low = int(places["table"][first])
        high = int(places["table"][end - 1] + places["stored"][end - 1])
        rows = 2 * encoder.width // PANEL  # of w₀ and b₀ of a column
        gradient = Step(encode.encode_gradient, self.net.encoding)
        refresh = Step(encode.sum_steps, self.net.encoding)
        update, update_linear = (tuple(self._update(at, bias=bias)) for bias in (False, True))
        return [
            Segment((gradient,), first, end, end - first),
            Segment(update, low, high, high - low),
            Segment(update_linear, rows * first, rows * end, rows * (end - first)),
            Segment((refresh,), first, end, end - first),
        ]

    def _factor_steps(self) -> tuple[Step, ...]:
        """Gradient and update of r."""
        record = self._update_record(self.net.last + 2, True)
        return (Step(updates.sum_of_blocks, record), *self._update(self.net.last + 2, bias=True))

    def _ahead_of_gradient(self, layer: int, first: int, end: int, room: int) -> list[Segment]:
        """What has segments of its own: sorting a sparse X, and the last layer's gradient.

        One goes by all features of the unit at a time, the other by all rows of the minibatch.
        """
        last, record, size = layer == self.net.last, self.records[layer], self.plan.batch_size
        if self.net.layout.sparse and layer == 0:
            sort = Step(sparse.sort_entries, record)
            return [] if last else [Segment((sort,), first, end, end - first, at=room)]
        if not last or self.plan.by_block:
            return []
        gradient = Step(dense.output_gradient, record)
        return [Segment((gradient,), 0, size, size, at=room, of_rows=True)]

    def _gradient(self, layer: int, *, bias: bool) -> list[Step]:
        """∂ℒ/∂W⁽ˡ⁾ or ∂ℒ/∂b⁽ˡ⁾ (N9); where it is summed by block, the sum over the blocks.

        Of the last layer, that of the bias comes with that of the weights; unless it reads a sparse
        X itself, both come ahead (`_ahead_of_gradient`).
        """
        net, record, last = self.net, self.records[layer], layer == self.net.last
        if self.plan.by_block:
            return [Step(updates.sum_of_blocks, self._update_record(layer, bias))]
        if bias:
            return [] if last else [Step(dense.bias_gradient, net.inner(record))]
        is_sparse = net.layout.sparse and layer == 0
        if last:
            return [Step(sparse.sparse_output_gradient, record)] if is_sparse else []
        return [Step(sparse.sparse_gradient if is_sparse else dense.gradient, record)]

    def _penalty(self, layer: int, *, bias: bool) -> list[Step]:
        """The L2 term of the gradient, where the update is not the one to add it."""
        if bias or not self.update.adds_penalty:
            return []
        return [Step(updates.add_penalty, self._update_record(layer, False))]

    def _norm(self, layer: int, *, bias: bool) -> list[Step]:
        """‖row‖² of the gradient."""
        return [Step(updates.gradient_squares, self._update_record(layer, bias))]

    def _update(self, layer: int, *, bias: bool) -> list[Step]:
        """The update, what regularisation adds to it, and what is derived from weights."""
        if self.update.piece is None:
            return []
        regularisation = self.update.regularisation
        steps = []
        record = self._update_record(layer, bias, penalty=not self.update.adds_penalty)
        if regularisation.weight_decay > 0 and not bias:
            steps.append(Step(updates.decay, record))
        steps.append(Step(self.update.piece, record))
        if regularisation.ema_decay is not None:
            steps.append(Step(updates.average, record))
        if not bias and layer <= self.net.last:
            steps.append(Step(dense.refresh, self.net.inner(self.records[layer])))
        return steps

    # -- records -----------------------------------------------------------------------------------
    def _gradient_fields(self, layer: int) -> dict[str, Any]:
        """Where phase 2 has gradients: in a unit's room, or in the buffer of all gradients."""
        return {"dW": self._gradient_place(layer), "db": self._gradient_place(layer, bias=True)}

    def _gradient_place(self, layer: int, *, bias: bool = False) -> dict[str, Any]:
        if not self.update.in_buffer and layer <= self.net.last:
            return self.rooms.matrix(layer, bias=bias)
        return (self.net.bias if bias else self.net.weights)(layer, "gradients")

    def _block_gradients(self, layer: int) -> dict[str, Any]:
        """Where phase 1 has the gradients of a block of rows."""
        net, size = self.net, self.net.layout.size
        return {
            "dW": {**net.weights(layer, "blocks"), "block": size},
            "db": {**net.bias(layer, "blocks"), "block": size},
        }

    def _update_record(self, layer: int, bias: bool, *, penalty: bool = True) -> Record:
        """The record of an update, with the L2 term of a gradient or without it."""
        alpha = self.update.alpha if penalty and not bias else 0.0
        key = (layer, bias, alpha)
        if key not in self._records:
            self._records[key] = self._new_update_record(layer, bias, alpha)
        return self._records[key]

    def _new_update_record(self, layer: int, bias: bool, alpha: float) -> Record:
        net = self.net
        where = net.bias if bias else net.weights
        buffers = [("w", "parameters"), ("m", "moment_1"), ("v", "moment_2")]
        if self.update.regularisation.ema_decay is not None:
            buffers.append(("average", "average"))
        blocks: dict[str, Any] = {}
        if layer > net.last + 1:
            blocks = net.factors_by_block
        elif self.plan.by_block and layer <= net.last:
            blocks = {**contiguous(where(layer, "blocks")), "block": net.layout.size}
        values = {
            **{name: contiguous(where(layer, buffer)) for name, buffer in buffers},
            "dw": contiguous(self._gradient_place(layer, bias=bias)),
            "parts": blocks,
            "alpha": alpha,
            "speed": self.update.encoder_speed if layer > net.last else 1.0,
            **dict(zip(updates.CONSTANTS, self.update.constants, strict=True)),
            "epoch": net.epoch_ref,
        }
        if self.update.clips:
            values["gradient_squares"] = {"float64": self._squares_of_gradient(layer, bias)}
        return Record(updates.update_record(net.dtype.name), values)

    def _squares_of_gradient(self, layer: int, bias: bool) -> Ref:
        """Where the norms of rows go: those of all weights, and then one of each bias."""
        rows = self.net.layout.stored_rows
        first = sum(rows) + layer if bias else sum(rows[:layer])
        return Ref("gradient_squares", _ITEMSIZE * first)

    def _clip_record(self) -> Record:
        values = {
            "gradient_squares": {"float64": Ref("gradient_squares")},
            "n_squares": self.n_squares + self.net.last + 1,
            "most": self.update.regularisation.max_grad_norm,
            "epoch": self.net.epoch_ref,
        }
        return Record(updates.clip_record(self.net.dtype.name), values)
