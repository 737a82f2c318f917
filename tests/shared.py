"""What the tests of several rooms share: modes, copies, what must not change, memory, threads."""

import copy
import pickle
import sys
import tempfile
import threading
import tracemalloc

import numpy as np

# Every mode in which a layer runs.
MODES = {
    "training": {"training": True},
    "frozen": {"training": True, "statistics": "population"},
    "inference": {"training": False},
    "demonstration": {"training": False, "statistics": "batch"},
}
COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda layer: pickle.loads(pickle.dumps(layer)),
}


def frozen(*values):
    """The bytes of all arrays, and the states of generators, in values, layers, optimizers."""
    return [each for value in values for each in _frozen(value)]


def _frozen(value):
    if isinstance(value, np.ndarray):
        yield value.shape, value.dtype, value.tobytes() if value.dtype != object else repr(value)
    elif isinstance(value, np.random.Generator):
        yield repr(value.bit_generator.state)
    elif isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _frozen(each)
    else:
        yield getattr(value, "iterations", None)
        for kind in ("parameters", "gradients", "state", "generators"):
            yield from _frozen(dict(getattr(value, kind, {})))


def memory_mapped(array):
    """The array in a file that is mapped to be read."""
    with tempfile.TemporaryFile() as file:
        file.write(array.tobytes())
        file.flush()
        return np.memmap(file, array.dtype, "r", shape=array.shape)


def memory_of(call):
    """How many bytes more are held after the call, and how many were at most."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()


def in_threads(functions):
    """What the functions return, all running at once and taking turns often."""
    found = [None] * len(functions)
    together = threading.Barrier(len(functions) + 1, timeout=30)

    def run(place):
        together.wait()
        try:
            found[place] = functions[place]()
        except BaseException as error:
            found[place] = error

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(functions))]
    for each in threads:
        each.start()
    # Not before: where coverage is measured, threads that start must not be interrupted as often.
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        together.wait()
        for each in threads:
            each.join()
    finally:
        sys.setswitchinterval(before)
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return found
