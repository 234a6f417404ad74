"""The pieces of a training step alone, as a fit calls them: on its buffers, by the driver."""

import time

import numpy as np


def gflops(product, work, layer, dtype, *, seconds, sample):
    """GFLOP/s of one product of a layer on one core, over all rows of a minibatch.

    seconds, sample : of all measurements, and of one
    """
    from fastmlp.data.rows import as_rows
    from fastmlp.kernels import layer as dense
    from fastmlp.network import layers, plan
    from fastmlp.network.buffers import Activations, Rooms
    from fastmlp.network.layout import Network
    from fastmlp.network.minibatch import Minibatch
    from fastmlp.network.program import Segment, Step
    from fastmlp.network.session import Optimizer, Session
    from fastmlp.runtime.call import Call

    shapes, n_rows = work.shapes, work.batch_size
    widths = (shapes[0][0], *(n_out for _, n_out in shapes))
    network = Network(widths, ("relu",) * (len(widths) - 2), np.dtype(dtype))
    rng = np.random.default_rng(0)
    session = Session(network, 1)
    session.set_parameters(
        [rng.standard_normal(shape) for shape in shapes], [np.zeros(n) for _, n in shapes]
    )
    rows = as_rows(rng.standard_normal((n_rows, widths[0])).astype(dtype), network.dtype)
    session.prepare(rows, np.zeros(n_rows), None, n_rows, alpha=0.0, optimizer=Optimizer())
    session.train_epoch(np.arange(n_rows), 1e-3)  # numbers in all buffers
    of_fit, layout = session._training, session._numbers.layout

    # The same records, and a program of one step.
    the_plan = of_fit.plan
    net = layers.NetworkRecords(
        layout, rows.source, Activations(layout, the_plan.block_rows, the_plan.n_blocks)
    )
    update = Optimizer().update(network.dtype, 0.0)
    training = Minibatch(net, the_plan, update, Rooms(layout))
    record, by_block = training.records[layer], the_plan.by_block
    if product == "gradient" and not by_block:
        step = Step(dense.gradient, record)
        segment = Segment((step,), 0, shapes[layer][0], plan.GRADIENT_ROWS)
    else:
        step = {
            "forward": lambda: Step(dense.forward, record),
            "recursion": lambda: Step(dense.backward, record),
            "gradient": lambda: Step(dense.gradient_of_block, training.of_block[layer]),
        }[product]()
        segment = Segment((step,), 0, n_rows, the_plan.block_rows, at_advance=1, of_rows=True)
    program = net.writer.finish([[[segment]]], waits=True)
    addresses = {
        name: array.ctypes.data
        for name, array in of_fit.memory.items()
        if isinstance(array, np.ndarray)
    }
    bound = program.bind({"sample_weight": 0, "gradients": 0, **addresses, **rows.values_of_refs()})
    bound.write("epoch", (0, n_rows, n_rows, the_plan.block_rows))

    def measure(times):
        call = Call(
            (of_fit, bound), 1, np.zeros(times, np.int64), **bound.fields,
            n_rows=n_rows, batch_size=n_rows,
        )  # fmt: skip
        start = time.perf_counter()
        call.run()
        return time.perf_counter() - start

    times = max(1, round(sample / min(measure(1) for _ in range(3))))
    best = min(measure(times) for _ in range(max(3, round(seconds / sample)))) / times
    n_in, n_out = shapes[layer]
    return 2 * n_rows * n_in * n_out / best / 1e9
