# %% [markdown]
# # Your own data, your own layer
#
# Three things that one wants to do with an engine sooner or later: feed
# it one's own images, feed it a table of numbers, and put in a layer that
# it does not have.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from npbn import SGD, Adam, BatchNorm, Dense, Layer, ReLU, Sequential
from npbn import datasets, fit, functional, gradient_check

# %% [markdown]
# ## Images
#
# 600 small pictures of a ring, a cross or a bar, made here, somewhere in
# the picture and with noise on it. Any array will do in their place:
# (N, height, width), or with a last axis of 1 or 3 for the channels.
# Labels may be words.

# %%
rng = np.random.default_rng(0)
rows, columns = np.mgrid[:16, :16]


def picture(kind):
    row, column = rng.integers(5, 11, size=2)
    down, right = rows - row, columns - column
    shape = {
        "ring": abs(np.hypot(down, right) - 4) < 1,
        "cross": (abs(down) < 1) ^ (abs(right) < 1),
        "bar": abs(down - right) < 2,
    }[kind]
    noise = rng.normal(0, 60, size=(16, 16))
    return np.clip(200 * shape + noise, 0, 255).astype(np.uint8)


names = rng.choice(["ring", "cross", "bar"], size=600)
pictures = np.array([picture(name) for name in names])

data = datasets.load_images((pictures, names), seed=0)
data

# %%
fig, axes = plt.subplots(1, 8, figsize=(8, 1.4))
for ax, image, label in zip(axes, *data.train, strict=False):
    ax.imshow(image.reshape(16, 16), cmap="gray_r")
    ax.set_title(data.classes[label], fontsize=10)
    ax.axis("off")
plt.show()

# %%
network = Sequential(
    [
        Dense(256, 50, use_bias=False, rng=0),
        BatchNorm(50, momentum=0.9),
        ReLU(),
        Dense(50, 3, rng=1),
    ]
)
fit(
    network,
    data.train,
    data.validation,
    optimizer=SGD(0.1),
    steps=300,
    progress=False,
)
network.evaluate(*data.test)

# %% [markdown]
# A file works as well: a CSV with one image a row, label first, as Kaggle
# has them, or a folder of pictures with a subfolder for each class
# (`datasets.load_images("photos", size=(32, 32))`).

# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "shapes.csv"
    table = np.column_stack([names, pictures.reshape(600, 256)])
    np.savetxt(path, table, fmt="%s", delimiter=",")
    from_file = datasets.load_images(path, seed=0)
np.array_equal(from_file.train[0], data.train[0])

# %% [markdown]
# ## A table of numbers
#
# Not everything is an image. `fit` takes any arrays (rows, features) of
# the network's type, and targets that the loss takes: here numbers, and
# the squared error. Two of the columns are of very different size, as in
# most tables; batch norm as the first layer evens them out.

# %%
x = rng.normal([0, 50, 0.01], [1, 20, 0.002], size=(500, 3))
target = x @ [[2.0], [0.1], [1000.0]] + rng.normal(size=(500, 1))

regression = Sequential(
    [
        BatchNorm(3, momentum=0.9, dtype=np.float64),
        Dense(3, 1, rng=0, dtype=np.float64),
    ]
)
fit(
    regression,
    (x[:400], target[:400]),
    optimizer=Adam(0.1),
    epochs=60,
    loss=functional.squared_error,
    progress=False,
)
errors = regression.forward(x[400:]) - target[400:]
print(f"error on new rows: {errors.std():.2f} (the noise has 1)")

# %% [markdown]
# ## A layer of your own
#
# A layer is a class with a forward and a backward pass. It keeps in
# `self.cache` what backward needs, and writes the gradient of each of its
# parameters. This one is a parametric ReLU: what is below 0 is multiplied
# by a slope that is learnt, one for each feature.
#
# $$y = \max(x, 0) + a \min(x, 0)$$
#
# $$da = \sum_i dy_i \min(x_i, 0)$$


# %%
class PReLU(Layer):
    def __init__(self, features):
        slope = np.full(features, 0.25, dtype=np.float32)
        super().__init__(parameters={"slope": slope})

    def forward(self, x):
        self.cache = x
        slope = self.parameters["slope"]
        return np.maximum(x, 0) + slope * np.minimum(x, 0)

    def backward(self, dy):
        x = self.take_cache()
        self.gradients["slope"][...] = (dy * np.minimum(x, 0)).sum(0)
        return dy * np.where(x > 0, 1, self.parameters["slope"])


x = rng.normal(size=(8, 5))
gradient_check(PReLU(5), x)


# %% [markdown]
# `gradient_check` compares the backward pass with numeric derivatives. It
# is worth its name only if it can fail. Suppose that one takes the mean
# over the batch where the sum belongs:


# %%
class Mistaken(PReLU):
    def backward(self, dy):
        dx = super().backward(dy)
        self.gradients["slope"][...] /= len(dy)
        return dx


gradient_check(Mistaken(5), x)

# %% [markdown]
# The right one takes its place in a network like any other layer: it is
# trained, printed and saved with it.

# %%
network = Sequential(
    [
        Dense(256, 50, use_bias=False, rng=0),
        BatchNorm(50, momentum=0.9),
        PReLU(50),
        Dense(50, 3, rng=1),
    ]
)
fit(
    network,
    data.train,
    optimizer=SGD(0.1),
    steps=300,
    progress=False,
)
print(f"test accuracy: {network.accuracy(*data.test):.3f}")
slopes = network.layers[2].parameters["slope"]
print(f"slopes: {slopes.min():.2f} to {slopes.max():.2f}, from 0.25")
