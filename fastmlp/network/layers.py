"""What a network's steps are: which pieces, in which order, on which records."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from fastmlp.kernels import dropout, encode, loss, sparse
from fastmlp.kernels import layer as dense
from fastmlp.kernels.epoch import EPOCH
from fastmlp.kernels.own_activation import kernels_of
from fastmlp.kernels.simd.tile import GATED, PLAIN, TIMES
from fastmlp.kernels.simd.vector import PANEL
from fastmlp.kernels.take_rows import rows_record, take_rows
from fastmlp.network.buffers import Activations, Table, column
from fastmlp.network.layout import Layout, Place, padded
from fastmlp.network.plan import GRADIENT_ROWS, limits
from fastmlp.network.program import Program, Record, Ref, Segment, Step, Writer
from fastmlp.network.regularisation import NONE, Regularisation


class NetworkRecords:
    """The records and steps of one program.

    Parameters
    ----------
    layout : Layout
        Of the network.
    source : dtype or None
        Type of the numbers of a dense X; None for a sparse one.
    rows : Activations
        Where activations and deltas lie.
    regularisation : Regularisation, optional
        Of training; a prediction has none.
    table : Table, optional
        What an encoder works in, if the network has one.
    """

    def __init__(
        self,
        layout: Layout,
        source: np.dtype[Any] | None,
        rows: Activations,
        regularisation: Regularisation = NONE,
        table: Table | None = None,
    ) -> None:
        self.regularisation, self.table = regularisation, table
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
        return kernels_of(self.network.activations[layer])

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
            "members": self.network.members,
            "floor": self.activation(layer).floor if hidden else -np.inf,
            "epoch": self.epoch_ref,
        }

    def backward_fields(self, layer: int, copy: Place | None) -> dict[str, Any]:
        """What the δ recursion reads and writes on its way from a layer to the one before.

        copy : place of Wᵀ; None for the last layer, which needs none. At layer 0 there is no g.
        """
        ending = PLAIN if layer == 0 else self.activation(layer - 1).ending
        if layer > 0 and self.regularisation.of_layer(layer) > 0:
            ending = TIMES
        gate = {PLAIN: "deltas", GATED: "activations", TIMES: "deltas"}[ending]
        return {
            "delta_in": self.rows.matrix("deltas", layer),
            "Wt": {} if copy is None else copy.fields("copies", self.dtype),
            "copies": copy is not None,
            "ending": ending,
            "gate": self.rows.matrix(gate, layer),
        }

    def zeros(self) -> dict[str, Any]:
        """Fields of the record of a row of zeros."""
        panels = padded(max(self.network.widths)) // PANEL
        return Place(0, panels, 1, PANEL, 0, 0).fields("zeros", self.dtype)

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
        steps = self._input_steps() + self.drop_steps(0)
        for layer, record in enumerate(records):
            is_sparse = self.layout.sparse and layer == 0
            if layer == self.last:
                steps.append(Step(sparse.sparse_output if is_sparse else dense.output, record))
                continue
            steps.append(Step(sparse.sparse_forward if is_sparse else dense.forward, record))
            apply = self.activation(layer).apply
            if apply is not None:
                steps.append(Step(apply, self.inner(record)))
            if self.regularisation.of_layer(layer + 1) > 0:
                steps += self.derivative_steps(layer, record)
                steps += self.drop_steps(layer + 1)
        return steps

    def _input_steps(self) -> list[Step]:
        """X to a⁽⁰⁾; of a sparse X there is none."""
        if self.source is None:
            return []
        if self.network.encoder is not None:
            return [Step(encode.encode, self.encoding), Step(encode.spread, self.encoding)]
        fields = {
            "x": self._x(),
            "n_features": self.network.widths[0],
            "a": self.rows.matrix("activations", 0),
            "epoch": self.epoch_ref,
        }
        kinds = self.source.name, self.dtype.name
        return [Step(take_rows, Record(rows_record(*kinds), fields))]

    def _x(self) -> dict[str, Any]:
        """Fields of the record of a dense X."""
        assert self.source is not None
        return {self.source.name: Ref("x"), "row": Ref("x_row"), "column": Ref("x_column")}

    @property
    def factors_by_block(self) -> dict[str, Any]:
        """Fields of the record of the gradients of r, of each block of rows."""
        place = self.layout.biases[-1]
        return place._replace(start=0).fields("d_factors", self.dtype, block=place.size)

    @cached_property
    def encoding(self) -> Record:
        """The record of an encoder."""
        encoder, table, source = self.network.encoder, self.table, self.source
        kind = self.dtype.name
        assert encoder is not None
        assert table is not None
        assert source is not None
        at = self.last + 1
        fields = {
            "x": self._x(),
            "members": encoder.members,
            "width": encoder.width,
            "n_embedded": len(encoder.rows),
            "n_plain": encoder.n_plain,
            "columns": Ref("columns"),
            "places": Ref("places"),
            "edges": {"float64": Ref("edges")},
            "level_rows": {"int64": Ref("level_rows")},
            "linear": self.bias(at),
            "table": self.weights(at),
            "factors": self.bias(at + 1),
            "d_factors": self.factors_by_block,
            "d_linear": self.bias(at, "gradients"),
            "d_table": self.weights(at, "gradients"),
            "knots": {kind: Ref("knots")},
            "a": self.rows.matrix("activations", 0),
            "delta": self.rows.matrix("deltas", 0),
            "embedded": table.embedded,
            "cell_knots": {"int64": Ref("cell_knots")},
            **{name: {kind: Ref(name)} for name in ("cell_shares", "cell_values")},
            "block_rows": table.block_rows,
            "epoch": self.epoch_ref,
        }
        return Record(encode.encode_record(source.name, kind), fields)

    def derivative_steps(self, layer: int, record: Record) -> list[Step]:
        """g′ of a hidden layer to where δ will be, unless it waits there already."""
        activation, inner = self.activation(layer), self.inner(record)
        if activation.ending == TIMES:
            return []
        if activation.ending == GATED:
            return [Step(dropout.write_relu_derivative, inner)]
        steps = [Step(dropout.begin_derivative, inner)]
        if activation.multiply_derivative is not None:
            steps.append(Step(activation.multiply_derivative, inner))
        return steps

    def drop_steps(self, layer: int) -> list[Step]:
        """Dropout of a⁽ˡ⁾, if it has any."""
        share = self.regularisation.of_layer(layer)
        if not share > 0:  # as `Regularisation.drops` has it: the numbers of updates are there
            return []
        threshold = min(round(share * 2**32), 2**32 - 1)  # of a share near 1, one number stays
        fields = {
            "a": self.rows.matrix("activations", layer),
            "delta": self.rows.matrix("deltas", layer) if layer > 0 else {},
            "layer": layer,
            "threshold": threshold,
            "scale": 2**32 / (2**32 - threshold),
            "members": self.network.members,
            "epoch": self.epoch_ref,
        }
        return [Step(dropout.drop, Record(dropout.dropout_record(self.dtype.name), fields))]

    def backward_steps(self, records: list[Record], layer: int) -> list[Step]:
        """From δ of a layer to that of the one before."""
        piece = dense.backward_from_output if layer == self.last else dense.backward
        steps = [Step(piece, self.inner(records[layer]))]
        derivative = self.activation(layer - 1).multiply_derivative if layer > 0 else None
        waits = self.regularisation.of_layer(layer) > 0  # where δ will be, as what drops it says
        if derivative is not None and not waits:
            steps.append(Step(derivative, self.inner(records[layer - 1])))
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
) -> tuple[Program, dict[str, int], dict[str, int]]:
    """The program of a prediction, and the sizes of its buffers: of a network, and of an encoding.

    An activation whose g′ needs z writes it to where δ would be, in a prediction too. A network of
    members has probabilities alone, which are the mean of theirs.

    source : type of a dense X, or None for a sparse one; block : rows of a block; n_slots : threads
    """
    rows, table = Activations(layout, block, n_slots), Table(layout, block, n_slots)
    net = NetworkRecords(layout, source, rows, table=table)
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
        members=net.network.members,
    )
    write = loss.write_probabilities if probabilities else loss.write_logits
    if layout.network.encoder is not None:
        write = loss.write_mean_probabilities
    steps = (*net.forward_steps(records), Step(write, record))
    segment = Segment(steps, 0, block, block, of_rows=True)
    program = net.writer.finish([[[segment]]], waits=False)
    deltas = rows.hidden if TIMES in endings else 0
    return program, {"activations": rows.size, "deltas": deltas}, table.sizes
