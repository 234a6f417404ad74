"""What a network's steps are: which pieces, in which order, on which records.

A minibatch has two phases. Phase 1 takes blocks of rows through forward pass, loss and δ recursion;
phase 2 takes blocks of weights through gradient and update. Where gradients are summed by blocks of
rows, they belong to phase 1, and phase 2 adds them up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from fastmlp.kernels import layer as dense
from fastmlp.kernels import loss, sparse, updates
from fastmlp.kernels.activations import ACTIVATIONS
from fastmlp.kernels.epoch import EPOCH
from fastmlp.kernels.piece import Piece
from fastmlp.kernels.simd.tile import GATED, PLAIN, TIMES
from fastmlp.kernels.simd.vector import PANEL
from fastmlp.kernels.take_rows import rows_record, take_rows
from fastmlp.network.buffers import Activations, Buffers, Rooms, column, contiguous
from fastmlp.network.layout import Layout, Place, padded
from fastmlp.network.plan import GRADIENT_ROWS, MATRIX, Plan, limits, weight_units
from fastmlp.network.program import Program, Record, Ref, Segment, Step, Writer


@dataclass(frozen=True)
class Update:
    """Which update a training makes, with its constants (`kernels.updates.CONSTANTS`)."""

    piece: Piece | None
    alpha: float = 0.0
    constants: tuple[float, ...] = (0.0,) * len(updates.CONSTANTS)


class _Network:
    """The records and steps of one program."""

    def __init__(self, layout: Layout, source: np.dtype[Any] | None, rows: Activations) -> None:
        self.layout, self.network = layout, layout.network
        self.dtype, self.last = layout.network.dtype, layout.network.n_layers - 1
        self.rows = rows
        self.source = source
        self.writer = Writer()
        self._inner: Record | None = None
        self.epoch = Record(EPOCH, {})
        self.epoch_ref = self.writer.record(self.epoch, "epoch")

    def weights(self, layer: int, buffer: str = "parameters") -> dict[str, Any]:
        """Fields of the record of W⁽ˡ⁾, or of what is laid out like it."""
        place = self.layout.weights[layer]
        return place.fields(buffer, self.dtype, advance=place.row)

    def bias(self, layer: int, buffer: str = "parameters") -> dict[str, Any]:
        """Fields of the record of b⁽ˡ⁾."""
        return self.layout.biases[layer].fields(buffer, self.dtype)

    def activation(self, layer: int) -> Any:
        """g of a hidden layer, counted from 0."""
        return ACTIVATIONS[self.network.activations[layer]]

    def forward_fields(self, layer: int, logits: dict[str, Any]) -> dict[str, Any]:
        """What a layer's forward pass reads and writes."""
        n_in, n_out = self.network.shapes()[layer]
        hidden = layer < self.last
        return {
            "n_in": n_in,
            "n_out": n_out,
            "a_in": self.rows.matrix("activations", layer),
            "a": self.rows.matrix("activations", layer + 1) if hidden else {},
            "delta": self.rows.matrix("deltas", layer + 1) if hidden else {},
            "W": self.weights(layer),
            "b": self.bias(layer),
            "logits": logits,
            "floor": self.activation(layer).floor if hidden else -np.inf,
            "epoch": self.epoch_ref,
        }

    def layer_record(self, layer: int, fields: dict[str, Any]) -> Record:
        """The record of a layer; the first one of a sparse X has another type."""
        kind = self.dtype.name
        record = Record(dense.layer_record(kind), fields)
        if layer > 0 or not self.layout.sparse:
            return record
        return Record(
            sparse.sparse_record(kind),
            {
                "layer": fields,
                "values": {kind: Ref("values")},
                "indices": {"int32": Ref("indices")},
                "indptr": {"int64": Ref("indptr")},
                **{name: {"int64": Ref(name)} for name in ("entries", "begins", "ends")},
                "block_features": GRADIENT_ROWS,
                "epoch": self.epoch_ref,
            },
        )

    def forward_steps(self, records: list[Record]) -> list[Step]:
        """X to logits."""
        steps = []
        if self.source is not None:
            x = {self.source.name: Ref("x"), "row": Ref("x_row"), "column": Ref("x_column")}
            fields = {
                "x": x,
                "n_features": self.network.widths[0],
                "a": self.rows.matrix("activations", 0),
                "epoch": self.epoch_ref,
            }
            kinds = self.source.name, self.dtype.name
            steps.append(Step(take_rows, Record(rows_record(*kinds), fields)))
        for layer, record in enumerate(records):
            is_sparse = self.layout.sparse and layer == 0
            if layer == self.last:
                steps.append(Step(sparse.sparse_output if is_sparse else dense.output, record))
                continue
            steps.append(Step(sparse.sparse_forward if is_sparse else dense.forward, record))
            apply = self.activation(layer).apply
            if apply is not None:
                steps.append(Step(apply, self.inner(record)))
        return steps

    def inner(self, record: Record) -> Record:
        """The record of the layer itself, where X is sparse."""
        if "layer" not in record.values:
            return record
        if self._inner is None:
            self._inner = Record(dense.layer_record(self.dtype.name), record.values["layer"])
        return self._inner

    def loss_record(self, **fields: Any) -> Record:
        """The record of the output."""
        least, most = limits(self.dtype)
        common = {"least": least, "most": most, "epoch": self.epoch_ref}
        return Record(loss.loss_record(self.dtype.name), {**common, **fields})


@lru_cache(maxsize=32)
def prediction_program(
    layout: Layout, source: np.dtype[Any] | None, block: int, n_slots: int, *, probabilities: bool
) -> tuple[Program, int, int]:
    """The program of a prediction, and the sizes of its buffers of activations and of deltas.

    An activation whose g′ needs z writes it to where δ would be, in a prediction too.

    source : type of a dense X, or None for a sparse one; block : rows of a block; n_slots : threads
    """
    rows = Activations(layout, block, n_slots)
    net = _Network(layout, source, rows)
    endings = [net.activation(layer).ending for layer in range(net.last)]
    kind = net.dtype.name
    logits = column("logits", net.dtype, block=padded(block))
    records = [
        net.layer_record(layer, net.forward_fields(layer, logits)) for layer in range(net.last + 1)
    ]
    record = net.loss_record(
        logits=logits,
        complement=column("complement", net.dtype, block=padded(block)),
        result={kind: Ref("result")},
    )
    write = loss.write_probabilities if probabilities else loss.write_logits
    steps = (*net.forward_steps(records), Step(write, record))
    segment = Segment(steps, 0, block, block, of_rows=True)
    program = net.writer.finish([[[segment]]], waits=False)
    return program, rows.size, rows.hidden if TIMES in endings else 0


@lru_cache(maxsize=32)
def training_program(
    layout: Layout, source: np.dtype[Any] | None, plan: Plan, update: Update
) -> tuple[Program, Buffers]:
    """The program of a minibatch of training, and the sizes of its buffers.

    An update without a piece leaves the weights alone: gradients of all minibatches are added up in
    the buffer of gradients.
    """
    rows = Activations(layout, plan.block_rows, plan.n_blocks)
    net = _Network(layout, source, rows)
    rooms = Rooms(layout)
    size_of_block = layout.size if plan.by_block else 0
    training = _Training(net, plan, update, rooms)
    program = net.writer.finish([training.row_phase(), training.weight_phase()], waits=True)
    return program, Buffers(
        rows.size, rows.hidden, rooms.size * plan.n_units, size_of_block * plan.n_blocks,
        plan.n_blocks * plan.block_rows,
    )  # fmt: skip


class _Training:
    """The two phases of a minibatch."""

    def __init__(self, net: _Network, plan: Plan, update: Update, rooms: Rooms) -> None:
        self.net, self.plan, self.update, self.rooms = net, plan, update, rooms
        self._updates: dict[tuple[int, bool], tuple[Step, ...]] = {}
        kind = net.dtype.name
        first_rows = np.cumsum([0, *net.layout.stored_rows])
        self.n_squares = int(first_rows[-1])
        fields = []
        for layer in range(net.last + 1):
            squares = Ref("squares", 8 * int(first_rows[layer]))
            fields.append(
                {
                    **net.forward_fields(layer, column("logits", net.dtype, advance=1)),
                    **self._backward_fields(layer),
                    "output_delta": {kind: Ref("output_delta")},
                    "one": {kind: Ref("one")},
                    "zeros": Place(0, padded(max(net.network.widths)) // PANEL, 1, PANEL, 0, 0)
                    .fields("zeros", net.dtype),
                    "squares": {"float64": squares},
                    "with_squares": update.alpha > 0,
                    "adds": update.piece is None,
                }
            )  # fmt: skip
        self.records = [net.layer_record(k, values) for k, values in enumerate(fields)]
        # The gradients of a block of rows go to a room of the block's own.
        self.of_block = [
            Record(record.dtype, {**record.values, **self._block_gradients(k)})
            for k, record in enumerate(self.records)
        ] if plan.by_block else []  # fmt: skip
        self.output = net.loss_record(
            targets={"bool": Ref("targets")},
            sample_weight={"float64": Ref("sample_weight")},
            logits=column("logits", net.dtype, advance=1),
            squares={"float64": Ref("squares")},
            n_squares=self.n_squares,
            **{
                name: {kind: Ref(buffer)}
                for name, buffer in (
                    ("target", "target"), ("weight", "weight"), ("delta", "output_delta"),
                    ("loss", "loss"),
                )
            },
        )  # fmt: skip

    def _backward_fields(self, layer: int) -> dict[str, Any]:
        net = self.net
        fields: dict[str, Any] = self._gradient_fields(layer)
        if layer == 0:
            return fields
        copy = net.layout.copies[layer]
        fields["delta_in"] = net.rows.matrix("deltas", layer)
        fields["Wt"] = {} if copy is None else copy.fields("copies", net.dtype)
        fields["copies"] = copy is not None
        ending = net.activation(layer - 1).ending
        fields["ending"] = ending
        gate = {PLAIN: "deltas", GATED: "activations", TIMES: "deltas"}[ending]
        fields["gate"] = net.rows.matrix(gate, layer)
        return fields

    def _gradient_fields(self, layer: int) -> dict[str, Any]:
        """Where phase 2 has gradients: in a unit's room, or in the buffer of all gradients."""
        if self.update.piece is None:
            return {
                "dW": self.net.weights(layer, "gradients"), "db": self.net.bias(layer, "gradients")
            }  # fmt: skip
        return {"dW": self.rooms.matrix(layer), "db": self.rooms.matrix(layer, bias=True)}

    def _block_gradients(self, layer: int) -> dict[str, Any]:
        """Where phase 1 has the gradients of a block of rows."""
        net, size = self.net, self.net.layout.size
        return {
            "dW": {**net.weights(layer, "blocks"), "block": size, "advance": 0},
            "db": {**net.bias(layer, "blocks"), "block": size},
        }

    def row_phase(self) -> list[list[Segment]]:
        """Forward pass, loss, δ recursion; with gradients summed by block, these too."""
        net, plan = self.net, self.plan
        steps = [*net.forward_steps(self.records), Step(loss.output_delta, self.output)]
        for layer in range(net.last, 0, -1):
            piece = dense.backward_from_output if layer == net.last else dense.backward
            steps.append(Step(piece, self.records[layer]))
            derivative = net.activation(layer - 1).multiply_derivative
            if derivative is not None:
                steps.append(Step(derivative, net.inner(self.records[layer - 1])))
        for layer, record in enumerate(self.of_block):
            last = layer == net.last
            piece = dense.output_gradient_of_block if last else dense.gradient_of_block
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

    def weight_phase(self) -> list[list[Segment]]:
        """Gradient, update and what is derived from weights."""
        units = []
        for number, parts in enumerate(weight_units(self.net.layout, self.plan)):
            segments = [
                segment
                for what, layer, first, end in parts
                for segment in (
                    self._of_matrix(layer, first, end, number)
                    if what == MATRIX
                    else [Segment(self._of_bias(layer), 0, 1, 1, at=number)]
                )
            ]
            units.append(segments)
        units[0].append(Segment((Step(loss.sum_losses, self.output),), 0, 1, 1))
        return units

    def _of_matrix(self, layer: int, first: int, end: int, room: int) -> list[Segment]:
        net, record = self.net, self.records[layer]
        last, is_sparse = layer == net.last, net.layout.sparse and layer == 0
        segments = []
        if is_sparse and not last:
            sort = Step(sparse.sort_entries, record)
            segments.append(Segment((sort,), first, end, end - first, at=room))
        steps = []
        if not self.plan.by_block:
            if last:
                piece = sparse.sparse_output_gradient if is_sparse else dense.output_gradient
            else:
                piece = sparse.sparse_gradient if is_sparse else dense.gradient
            steps.append(Step(piece, record))
        steps += self._update(layer)
        if last:
            steps += self._update(layer, bias=True)
        if self.update.piece is not None:
            steps.append(Step(dense.refresh, net.inner(record)))
        segments.append(Segment(tuple(steps), first, end, GRADIENT_ROWS, at=room))
        return segments

    def _of_bias(self, layer: int) -> tuple[Step, ...]:
        steps = []
        if not self.plan.by_block:
            steps.append(Step(dense.bias_gradient, self.net.inner(self.records[layer])))
        return (*steps, *self._update(layer, bias=True))

    def _update(self, layer: int, *, bias: bool = False) -> tuple[Step, ...]:
        """Sum over the blocks, where gradients are summed by block, and the update itself."""
        if self.update.piece is None:
            return ()
        if (layer, bias) not in self._updates:
            self._updates[layer, bias] = self._new_update(self.update.piece, layer, bias)
        return self._updates[layer, bias]

    def _new_update(self, piece: Piece, layer: int, bias: bool) -> tuple[Step, ...]:
        net = self.net
        where = net.bias if bias else net.weights
        buffers = ("w", "parameters"), ("m", "moment_1"), ("v", "moment_2")
        blocks = {**contiguous(where(layer, "blocks")), "block": net.layout.size}
        values = {
            **{name: contiguous(where(layer, buffer)) for name, buffer in buffers},
            "dw": contiguous(self.rooms.matrix(layer, bias=bias)),
            "parts": blocks if self.plan.by_block else {},
            "alpha": 0.0 if bias else self.update.alpha,
            **dict(zip(updates.CONSTANTS, self.update.constants, strict=True)),
            "epoch": net.epoch_ref,
        }  # fmt: skip
        record = Record(updates.update_record(net.dtype.name), values)
        steps = [Step(piece, record)]
        if self.plan.by_block:
            steps.insert(0, Step(updates.sum_of_blocks, record))
        return tuple(steps)
