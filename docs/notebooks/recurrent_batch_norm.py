# %% [markdown]
# # Recurrent batch norm
#
# A recurrent network uses the same weights at each step of a sequence.
# Cooijmans and others ([2016](https://arxiv.org/abs/1603.09025)) put
# batch norm inside an LSTM, on what comes from the input, on what comes
# from the state before, and on the cell:
#
# $$z_t = \mathrm{BN}(x_t W_x) + \mathrm{BN}(h_{t-1} W_h) + b$$
#
# $$c_t = \sigma(f_t) \odot c_{t-1} + \sigma(i_t) \odot \tanh(g_t)$$
#
# $$h_t = \sigma(o_t) \odot \tanh(\mathrm{BN}(c_t))$$
#
# where $f_t$, $i_t$, $g_t$ and $o_t$ are the four quarters of $z_t$. The
# weights, $\gamma$ and $\beta$ are shared by all steps. The *statistics*
# are not: what reaches a cell at the first step is something else than at
# the last, so each step has its own mean and variance. This notebook
# shows why, and where running averages fail.

# %%
import matplotlib.pyplot as plt
import numpy as np

from npbn import Adam, BatchNormLSTM, Dense, Sequential, datasets, fit


def as_rows(pair):
    """28 steps of 28 pixels each."""
    images, labels = pair
    return images.reshape(-1, 28, 28), labels


digits = datasets.load_mnist_5k()
train, test = as_rows(digits.train), as_rows(digits.test)

# %% [markdown]
# ## An LSTM that reads digits
#
# The 28 rows of an image are 28 steps of 28 pixels. The state after the
# last one says which digit it was. `steps=28` says for how many steps
# the layer keeps statistics. The $\gamma$ start at 0.1, as the authors
# found necessary: with 1 the tanh saturate.

# %%
lstm = BatchNormLSTM(
    28, 40, steps=28, last_only=True, momentum=0.9, rng=0
)
network = Sequential([lstm, Dense(40, 10, rng=1)])
history = fit(
    network,
    train,
    optimizer=Adam(0.005, max_norm=1.0),
    epochs=4,
    progress=False,
)
print(f"loss: {history.losses[0]:.2f} to {history.losses[-1]:.2f}")
network

# %% [markdown]
# ## In inference
#
# The loss fell, so the network has learnt. Does it know the digits of the
# test set?

# %%
print(f"running averages:         {network.accuracy(*test):.3f}")
by_batch = network.accuracy(*test, statistics="batch")
print(f"the test batch's own:     {by_batch:.3f}")

# %% [markdown]
# With the statistics of the test batch it does; with the running averages
# of the layer something is wrong.
#
# ## Exact statistics
#
# `recompute_population` takes the mean and the variance over *all* images
# given, step by step, the steps before being exact already. No weight
# changes.

# %%
running = {name: each.copy() for name, each in lstm.state.items()}
network.recompute_population(train[0])
exact = {name: each.copy() for name, each in lstm.state.items()}
print(f"exact statistics:         {network.accuracy(*test):.3f}")

# %% [markdown]
# ## What was wrong with the running averages?
#
# Compare the two at each step. Left: the exact standard deviations. Right:
# how far the running means are off, in such standard deviations.

# %%
fig, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
for which in ("input", "recurrent", "cell"):
    mean = f"population_{which}_mean"
    variance = exact[f"population_{which}_variance"]
    std = np.sqrt(variance + lstm.epsilon)
    off = abs(running[mean] - exact[mean]) / std
    axes[0].semilogy(range(28), std.mean(1), label=which)
    axes[1].plot(range(28), off.mean(1), label=which)
for ax, title in zip(axes, ("std", "mean, off by"), strict=True):
    ax.set(xlabel="step (row of the image)", title=title)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend()
plt.show()

# %% [markdown]
# The upper rows of nearly all digits are blank, so in the first steps
# hardly anything differs from one image to the next, and the standard
# deviations are tiny. A running average lags behind, as the weights move
# on while it averages. Where the standard deviation is 0.3, the lag is a
# few hundredths of it. Where it is 0.003, it is a whole one, and the
# network, which has never seen such values, carries them on through all
# of the steps that follow.
#
# If this is so, exact statistics for the first three steps alone should
# help. They do:

# %%
for name, statistics in lstm.state.items():
    statistics[3:] = running[name][3:]
print(f"exact in steps 0 to 2:    {network.accuracy(*test):.3f}")

# %% [markdown]
# ## Why not one for all steps?
#
# It would be simpler to keep one mean and one variance for all steps, as
# a convolution does for all places. Give every step the statistics of all
# of them together, and see:


# %%
def pool_over_steps(layer):
    for which in ("input", "recurrent", "cell"):
        mean = layer.state[f"population_{which}_mean"]
        variance = layer.state[f"population_{which}_variance"]
        pooled = mean.mean(0)
        variance[...] = (variance + mean**2).mean(0) - pooled**2
        mean[...] = pooled


for name, statistics in lstm.state.items():
    statistics[...] = exact[name]
pool_over_steps(lstm)
print(f"pooled over all steps:    {network.accuracy(*test):.3f}")

# %% [markdown]
# The cell begins at 0 and fills up, so its statistics change from step to
# step; what is right on average is right nowhere.
#
# Sequences of unequal length take a `mask` (N, T), which says where a
# sequence goes on; a step counts only the sequences that have it. A
# sequence that is longer than `steps` uses the statistics of the last
# one.
