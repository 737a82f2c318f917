# %% [markdown]
# # What one training step does
#
# A training step of a network in npbn is a list of plain NumPy calls:
# forward, loss, backward, update. The network prints it.

# %%
import matplotlib.pyplot as plt
import numpy as np

from npbn import SGD, ReLU, datasets, lesson

digits = datasets.load_mnist_5k()
images, labels = digits.train[0][:60], digits.train[1][:60]

weights = lesson.initial_weights(use_bad_weights=False, seed=0)
network = lesson.NeuralNet(weights, ReLU, use_batch_norm=True).network

# %% [markdown]
# ## The tape
#
# `network.tape(images, labels)` makes one step on a *copy* of the network
# and writes each call down, so nothing moves in the network itself. With
# an optimizer its update is part of it.

# %%
tape = network.tape(images, labels, optimizer=SGD(0.1))
print(f"{tape.calls} calls in {len(tape.blocks)} blocks")
for block in tape.blocks:
    print(f"{block.calls:4} {block.title}")

# %% [markdown]
# ## Batch norm, forward
#
# One block is one layer's pass. Each line is Python, and behind it stands
# what it wrote: type and shape. Compare the lines with the equations
#
# $$\mu = \frac{1}{m} \sum_i x_i, \quad
# \sigma^2 = \frac{1}{m} \sum_i (x_i - \mu)^2$$
#
# $$\hat{x}_i = \frac{x_i - \mu}{\sqrt{\sigma^2 + \varepsilon}}, \quad
# y_i = \gamma \hat{x}_i + \beta$$
#
# A sum over the rows is a product with a vector of ones, which is faster
# than `sum`. Deviations and variance are computed in float64, since
# float32 would lose digits where the mean is large.

# %%
forward = tape.blocks[1]
print(forward)

# %% [markdown]
# ## And backward
#
# $$d\beta = \sum_i dy_i, \quad d\gamma = \sum_i dy_i \hat{x}_i$$
#
# $$dx_i = \frac{\gamma}{s} \left( dy_i - \frac{d\beta}{m} -
# \hat{x}_i \frac{d\gamma}{m} \right)$$
#
# with $s = \sqrt{\sigma^2 + \varepsilon}$.

# %%
backward = next(
    block
    for block in tape.blocks
    if block.title.startswith("layer 1, backward")
)
print(backward)

# %% [markdown]
# ## What is printed is what ran
#
# A block knows the arrays as they were before its first line. So the
# printed lines can be run again, and they give the same bits.

# %%
arrays = forward.arrays
print("before:", ", ".join(arrays))

exec(forward.source, {"np": np, **arrays})
y = arrays["y"]
print("mean of y:", y.mean(0)[:3].round(6))
print("std of y: ", y.std(0)[:3].round(3))

by_network = network.layers[1].forward(
    network.layers[0].forward(images), training=True
)
print("same bits:", np.array_equal(y, by_network))

# %% [markdown]
# ## Change a line
#
# Since it is only Python, you can change it. What if one forgot the root,
# and divided by the variance? Below, the line with the root is taken out,
# and the outputs are drawn beside the right ones.

# %%
lines = [
    line
    for line in forward.source.splitlines()
    if not line.startswith("np.sqrt")
]
changed = forward.arrays
exec("\n".join(lines), {"np": np, **changed})

fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
bins = np.linspace(-8, 8, 81)
for name, values in (
    ("as printed", y),
    ("without the root", changed["y"]),
):
    ax.hist(values.ravel(), bins, alpha=0.6, label=name)
ax.set(xlabel="y", ylabel="values")
ax.spines[["top", "right"]].set_visible(False)
ax.legend()
plt.show()

# %% [markdown]
# ## The whole step
#
# `print(tape)` shows all of it. A loop, over blocks of a large array or
# over the steps of a recurrent layer, is printed once, with "x n" behind
# it.

# %%
print("\n\n".join(str(block) for block in tape.blocks[-2:]))
