"""A whole training run in a process of its own, which prints its peak resident memory in bytes.

    python -m benchmarks.groups.whole_run npbn 2000

All load the data through npbn, take the same batches, and validate every 500 steps.
"""

import sys
from pathlib import Path

from benchmarks.groups.loop import load_data
from benchmarks.peers import base
from npbn import SGD, datasets, fit

EVERY = 500


def run_npbn(data, setup, steps):
    """As a user of npbn has it."""
    from benchmarks.peers.npbn_peer import network_of

    network = network_of(setup.values)
    optimizer = SGD(base.LEARNING_RATE)
    fit(network, data.train, data.validation, optimizer=optimizer, steps=steps, progress=False)


def run_pytorch(data, setup, steps):
    """As PyTorch's tutorials have it."""
    import torch

    from benchmarks.peers import torch_peer

    network = torch_peer.network_of(setup.values)
    optimizer = torch.optim.SGD(network.parameters(), lr=base.LEARNING_RATE)
    images, labels = (torch.from_numpy(each) for each in data.validation)
    for step, batch in enumerate(_batches(data, steps)):
        x, y = (torch.from_numpy(each) for each in batch)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network.train()(x), y).backward()
        optimizer.step()
        if step % EVERY == 0:
            with torch.no_grad():
                (network.eval()(images).argmax(1) == labels).float().mean().item()


def run_keras(data, setup, steps):
    """Keras, batch by batch."""
    from benchmarks.peers import tensorflow_peer

    network = tensorflow_peer.keras_model(setup.values)
    images, labels = data.validation
    for step, batch in enumerate(_batches(data, steps)):
        network.train_on_batch(*batch)
        if step % EVERY == 0:
            (network.predict(images, verbose=0).argmax(1) == labels).mean()


def peak_bytes() -> int:
    """This process's peak resident memory."""
    status = Path("/proc/self/status")
    if status.exists():
        # ru_maxrss would be the parent's where that one was larger: exec does not reset it.
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _batches(data, steps):
    import numpy as np

    batches = datasets.minibatches(*data.train, 60, np.random.default_rng(0))
    return (next(batches) for _ in range(steps))


RUNS = {"npbn": run_npbn, "PyTorch": run_pytorch, "Keras": run_keras}

if __name__ == "__main__":
    RUNS[sys.argv[1]](load_data()[0], base.make_setup(True), int(sys.argv[2]))
    print(peak_bytes())
