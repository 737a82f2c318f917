"""Training that is killed, or has no place to write, loses nothing and goes on to the same bits."""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

from npbn import SGD, Adam, RMSProp, Sequential, checkpoint, fit, training_steps
from npbn.layers import BatchNorm, Dense, Dropout, ReLU

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs mounts and users as Linux has")


def falling(step):
    return 0.1 / (1 + step / 50)


OPTIMIZERS = {
    "SGD": lambda: SGD(0.1),
    "SGD with a schedule": lambda: SGD(falling, weight_decay=0.01),
    "momentum": lambda: SGD(0.05, momentum=0.9),
    "Nesterov": lambda: SGD(falling, momentum=0.9, nesterov=True, max_norm=1.0),
    "RMSProp": lambda: RMSProp(falling),
    "Adam": lambda: Adam(falling),
}
STEPS = 100_000  # more than any life reaches


def data():
    rng = np.random.default_rng(0)
    images = rng.random((90, 6)).astype(np.float32)
    return images, images.reshape(90, 3, 2).sum(2).argmax(1)


def network():
    layers = [Dense(6, 16, use_bias=False, rng=0), BatchNorm(16), ReLU(), Dropout(0.3, rng=5)]
    return Sequential([*layers, Dense(16, 3, rng=1)])


def train(path, name, steps=STEPS):
    each = network()
    history = fit(
        each,
        data(),
        data(),
        optimizer=OPTIMIZERS[name](),
        steps=steps,
        batch_size=20,
        sample_every=7,
        progress=False,
        checkpoint=path,
        checkpoint_every=1,
        resume=True,
    )
    return each, history


def digest(network, arrays=None):
    """Of its parameters and population statistics, by name; arrays: a checkpoint's instead."""
    own = {**network.parameters, **network.state}
    if arrays is not None:
        own = {name: arrays[f"network.{name}"] for name in own}
    return {name: crc32(np.ascontiguousarray(value)) for name, value in own.items()}


def never_interrupted(name, steps):
    """The digests after 0, 1, ... steps of a run that nothing disturbs, and its losses."""
    from threadpoolctl import threadpool_limits

    each, losses = network(), []
    digests = [digest(each)]
    with threadpool_limits(1, user_api="blas"):
        run = training_steps(each, data(), optimizer=OPTIMIZERS[name](), steps=steps, batch_size=20)
        for _, loss in run:
            digests.append(digest(each))
            losses.append(loss)
    return digests, losses


def survive(name, folder, kills, seed):
    """Start a run and kill it, again and again; look at the file each time, and end the run."""
    path, rng = folder / "run", random.Random(seed)
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_survival
print("go", flush=True)
test_survival.train({str(path)!r}, {name!r})
"""
    found = []
    for _ in range(kills):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"go\n"
            time.sleep(rng.uniform(0, 0.1))
            process.kill()
            process.wait()
        if path.exists():  # it may have been killed before its first checkpoint
            arrays, header = checkpoint.load(path)
            found.append((header["step"], digest(network(), arrays), arrays["history.losses"]))
    steps = [step for step, _, _ in found]
    assert steps == sorted(steps)
    last = steps[-1] if steps else 0
    digests, losses = never_interrupted(name, last + 20)
    for step, kept, kept_losses in found:
        assert kept == digests[step]
        assert kept_losses.tolist() == losses[:step]
    each, history = train(path, name, steps=last + 20)
    assert digest(each) == digests[-1]
    assert history.losses == losses
    assert history.sample_steps == list(range(0, last + 20, 7))
    left = [each.name for each in folder.iterdir() if each.name != "run"]
    assert all(each.startswith(".npbn-") for each in left)
    return len(found), last, len(left)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_that_is_killed_goes_on_to_the_same_bits(name, tmp_path):
    survive(name, tmp_path, 2, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_that_is_killed_a_hundred_times_goes_on_to_the_same_bits(name, tmp_path):
    found, last, left = survive(name, tmp_path, 100, seed=2)
    print(f"\n{name}: killed 100 times, {found} whole files, {last} steps, {left} partial files")
    assert found > 50
    assert left > 0  # some were killed in the middle of writing


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_resumed_at_every_step_gives_the_same_bits(name, tmp_path):
    digests, losses = never_interrupted(name, 12)
    for steps in range(13):
        each, history = train(tmp_path / "run", name, steps)
        assert digest(each) == digests[steps]
    assert history.losses == losses


# No place to write

PRELUDE = """
import os, sys
import numpy as np
sys.path.insert(0, {tests!r})
import test_survival as t
from npbn import checkpoint
path = {path!r}
before = open(path, "rb").read()
def refused(call):
    try:
        call()
    except OSError as error:
        print(type(error).__name__, error.errno, path in str(error))
    else:
        print("written")
    assert open(path, "rb").read() == before, "the old file has changed"
    print(sorted(os.listdir(os.path.dirname(path))))
"""


def in_a_process(code, path, mounted=None):
    """What the code prints; mounted: shell commands that come first, in mounts of its own."""
    code = PRELUDE.format(tests=str(Path(__file__).parent), path=str(path)) + code
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", code]
    if mounted:
        command = ["unshare", "-m", "sh", "-ec", f'{mounted}; exec "$@"', "sh", *command]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def mounts():
    """Skips where this process may not mount."""
    if not shutil.which("unshare"):
        pytest.skip("there is no unshare")
    tried = subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True
    )
    if tried.returncode:
        pytest.skip("this user may not mount")


@linux
def test_on_a_full_disk_the_old_checkpoint_stays(mounts, tmp_path):
    """A disk of 100 kB, made for this, with a run's checkpoint on it."""
    train(tmp_path / "run", "Adam", 3)
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=100k none {disk}; cp {tmp_path / 'run'} {disk}"
    code = """
refused(lambda: checkpoint.save(path, {"a": np.ones(20_000)}, {}))
fill = open(os.path.join(os.path.dirname(path), "fill"), "wb", buffering=0)
try:
    while fill.write(bytes(512)):
        pass
except OSError:
    pass
refused(lambda: t.train(path, "Adam", 9))
fill.close()
os.unlink(fill.name)
each, history = t.train(path, "Adam", 9)
print(len(history.losses), t.digest(each) == t.never_interrupted("Adam", 9)[0][-1])
"""
    printed = in_a_process(code, disk / "run", mount)
    assert printed == [
        "OSError 28 True",
        "['run']",
        "OSError 28 True",
        "['fill', 'run']",
        "9 True",
    ]


@linux
def test_on_a_read_only_disk_the_old_checkpoint_stays(mounts, tmp_path):
    train(tmp_path / "run", "Adam", 3)
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs none {disk}; cp {tmp_path / 'run'} {disk}; mount -o remount,ro {disk}"
    printed = in_a_process('refused(lambda: t.train(path, "Adam", 9))', disk / "run", mount)
    assert printed == ["PermissionError 13 True", "['run']"]


@linux
@pytest.mark.parametrize("case", ["folder", "file"])
def test_without_permission_the_old_checkpoint_stays(case):
    with tempfile.TemporaryDirectory() as name:  # pytest's own may be closed to others
        folder = Path(name) / "folder"
        folder.mkdir()
        train(folder / "run", "Adam", 3)
        folder.chmod(0o555 if case == "folder" else 0o777)
        (folder / "run").chmod(0o666 if case == "folder" else 0o444)
        folder.parent.chmod(0o755)
        code = """
checkpoint.load(path)
t.never_interrupted("Adam", 1)  # what is imported late can be read now
if os.getuid() == 0:
    os.setuid(65534)  # root may write anywhere
refused(lambda: checkpoint.save(path, {"a": np.ones(3)}, {}))
refused(lambda: t.train(path, "Adam", 9))
"""
        assert in_a_process(code, folder / "run") == ["PermissionError 13 True", "['run']"] * 2
        folder.chmod(0o755)
