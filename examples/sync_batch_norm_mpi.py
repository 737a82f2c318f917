"""Synchronized batch norm: processes train on shards of a batch as one would on all of it.

Each rank of MPI holds the whole network and takes its shard of every batch. The gradients are
added up, so all ranks make the same step. What is special about batch norm is that each row's
output and gradient depend on all rows: its statistics, and two sums in its backward pass, have to
be gathered as well. The table says how far that is from one process with the whole batch, and how
far it is where each rank normalizes by its own shard, as plain data-parallel training does: with
large shards it learns about as well, with shards of two rows it does not.

    mpirun -n 4 --oversubscribe python examples/sync_batch_norm_mpi.py

Without mpirun there is one rank. Needs mpi4py, which pip install -e ".[mpi]" brings, and an MPI:
on Debian, apt-get install openmpi-bin. Takes ten seconds.
"""

import argparse
import os
import sys
import time
import traceback
from itertools import islice

import numpy as np
from threadpoolctl import threadpool_limits

from npbn import SGD, BatchNorm, Dense, ReLU, Sequential, datasets, functional, reference


class SyncBatchNorm(BatchNorm):
    """BatchNorm of a batch that lies in shards, one in each process.

    The gradients of gamma and beta are the shard's own: as those of every layer, they are still to
    be added up over the processes.

    communicator: its allgather(value) returns the values of all processes, to each in one order.
    """

    def __init__(self, features, communicator, *, momentum=0.99, epsilon=1e-3, dtype=np.float32):
        super().__init__(features, momentum=momentum, epsilon=epsilon, dtype=dtype)
        self.communicator = communicator

    def forward(self, x, training=False, statistics=None):
        # In float64: rounded to float32, the mean of what is far from 0 would lose digits.
        x = x.astype(np.float64)
        if statistics == "batch" or (statistics is None and training):
            rows = x.reshape(-1, self.features)
            shards = self.communicator.allgather((len(rows), rows.mean(0), rows.var(0)))
            count, mean, variance = reference.merge_statistics(shards)
            if training:
                self._move(self.population_mean, mean)
                self._move(self.population_variance, variance)
        else:
            count = None
            mean, variance = self.population_mean.copy(), self.population_variance.copy()
        self.cache = x, count, mean, variance
        y = reference.batch_norm_inference(
            x, self.gamma, self.beta, mean, variance, epsilon=self.epsilon
        )
        return y.astype(self.dtype)

    def _move(self, population, batch):
        population[...] = reference.update_population(population, batch, momentum=self.momentum)

    def backward(self, dy):
        x, count, mean, variance = self.take_cache()
        dy = dy.astype(np.float64)
        dx, dgamma, dbeta = reference.batch_norm_inference_backward(
            dy, x, self.gamma, mean, variance, epsilon=self.epsilon
        )
        self.gradients["gamma"][...] = dgamma
        self.gradients["beta"][...] = dbeta
        if count is not None:
            # The statistics are no constants: they depend on x too, that of all shards.
            dgamma, dbeta = sum(self.communicator.allgather(np.stack([dgamma, dbeta])))
            dx = reference.synchronized_batch_norm_backward(
                dy, x, self.gamma, count, mean, variance, dgamma, dbeta, epsilon=self.epsilon
            )
        return dx.astype(self.dtype)


class Alone:
    """The communicator of a process that has no others."""

    rank, size = 0, 1

    def allgather(self, value):
        return [value]


def make_network(make_norm):
    """Two hidden layers, of the same weights each time; make_norm(features, ...) is a layer."""
    rng, layers = np.random.default_rng(0), []
    for inputs, units in ((784, 64), (64, 64)):
        layers += [
            Dense(inputs, units, use_bias=False, rng=rng, dtype=np.float64),
            make_norm(units, momentum=0.9, dtype=np.float64),
            ReLU(),
        ]
    return Sequential([*layers, Dense(64, 10, rng=rng, dtype=np.float64)])


def shard(array, communicator):
    """This rank's rows; where they do not come out even, the first ranks have one more."""
    return np.array_split(array, communicator.size)[communicator.rank]


def train(network, data, communicator, steps, batch_size):
    """Make the steps, with all other ranks; returns the seconds."""
    started = time.perf_counter()
    optimizer = SGD(0.1)
    # The same seed on every rank, so the same batches.
    batches = datasets.minibatches(*data, batch_size, np.random.default_rng(0))
    for images, labels in islice(batches, steps):
        x = shard(images, communicator)
        logits = network.forward(x, training=True)
        _, dlogits = functional.softmax_cross_entropy(logits, shard(labels, communicator))
        # Of the mean over the batch, not over the shard: then the ranks' gradients add up.
        network.backward(dlogits * (len(x) / batch_size))
        # All ranks add in one order: they hold the same bits for ever.
        network.gradient_vector[...] = sum(communicator.allgather(network.gradient_vector))
        optimizer.step(network)
    return time.perf_counter() - started


def compare(communicator, steps, batch_sizes):
    """Train in three ways with batches of each size; every rank calls this. Returns the tables."""
    digits = datasets.load_mnist_5k()
    data, test = (
        (images.astype(np.float64), labels) for images, labels in (digits.train, digits.test)
    )

    def synchronized(features, **options):
        return SyncBatchNorm(features, communicator, **options)

    lines = []
    for batch_size in batch_sizes:
        shards = [len(rows) for rows in np.array_split(range(batch_size), communicator.size)]
        lines += [
            f"Ranks: {communicator.size}; {steps} steps, batches of {batch_size} in shards of "
            + ", ".join(map(str, shards)),
            f"{'':18}{'off one process by at most':^34}{'test':>10}",
            f"{'':18}{'parameters':>12}{'population statistics':>24}{'accuracy':>10}{'seconds':>9}",
        ]
        one = make_network(BatchNorm)
        seconds = train(one, data, Alone(), steps, batch_size)
        lines.append(f"{'one process':54}{one.accuracy(*test):10.3f}{seconds:9.1f}")
        for way, make_norm in (("synchronized", synchronized), ("not synchronized", BatchNorm)):
            network = make_network(make_norm)
            seconds = train(network, data, communicator, steps, batch_size)
            off = np.abs(network.parameter_vector - one.parameter_vector).max()
            state_off = max(
                np.abs(network.state[name] - one.state[name]).max() for name in one.state
            )
            accuracy = network.accuracy(*test)
            lines.append(f"{way:18}{off:12.1e}{state_off:24.1e}{accuracy:10.3f}{seconds:9.1f}")
            copies = {each.tobytes() for each in communicator.allgather(network.parameter_vector)}
            if len(copies) > 1:
                raise RuntimeError(f"{way}: the ranks' parameters went apart")
        lines.append("")
    return "\n".join(lines)


def make_parser(description):
    summary, details = description.split("\n\n", 1)
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--steps", type=int, default=300, metavar="N", help="default 300")
    add("--batch-sizes", type=int, nargs="+", default=[62, 8], metavar="N", help="default 62 8")
    return parser


def refusal(batch_sizes, ranks):
    """What is wrong with the sizes; None: nothing. Alone, one row has no variance."""
    if min(batch_sizes) < 2 * ranks:
        return f"--batch-sizes: expected {2 * ranks} or more, two rows a rank"
    return None


def main(arguments=None):
    options = make_parser(__doc__).parse_args(arguments)
    # A rank that waits gives way: four of them spinning on two cores took 20 times as long.
    os.environ.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        return (
            f'{error}: pip install -e ".[mpi]" brings mpi4py, and on Debian apt-get install '
            "openmpi-bin the MPI that it needs"
        )
    communicator = MPI.COMM_WORLD
    if wrong := refusal(options.batch_sizes, communicator.size):
        return wrong if communicator.rank == 0 else 1
    try:
        with threadpool_limits(1):
            text = compare(communicator, options.steps, options.batch_sizes)
    except BaseException:
        # Otherwise the other ranks would wait for this one without end.
        traceback.print_exc()
        communicator.Abort(1)
    if communicator.rank == 0:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
