# %% [markdown]
# # The backward pass, drawn
#
# Batch norm is four lines forward. Backward it is the place where most
# derivations go wrong: the mean and the variance are made of the whole
# batch, so every value of `x` acts on every row of `y`. This notebook
# shows where each gradient comes from, what the result means, and what a
# wrong one is told.

# %%
import numpy as np

import npbn
from npbn import plotting, reference

rng = np.random.default_rng(1)
x = rng.normal(2.0, 3.0, size=(8, 4))
gamma = rng.uniform(0.5, 1.5, size=4)
beta = rng.normal(size=4)
dy = rng.normal(0.8, 1.0, size=(8, 4))

# %% [markdown]
# ## One operation at a time
#
# A formula becomes easy to differentiate when it is cut into operations
# that are easy: sums, products, a root. Each of them knows two things:
# how to make its value from what goes in, and, when the gradient of its
# value comes back, what to hand on to what went in.
#
# The picture is made by computing it for the arrays above. Blue is
# forward, from top to bottom; orange is what comes back.

# %%
plotting.batch_norm_graph(x, gamma, beta, dy)

# %% [markdown]
# Two rules explain most of it.
#
# - **Where one value goes two ways, what comes back is added.** `x` goes
#   into the mean and into `centred`; `centred` goes into the square and
#   into `x_hat`.
# - **A sum forward is a spreading backward, and the other way round.**
#   The mean is one number for each feature and was made of $m$ values:
#   each of them gets $1/m$ of its gradient. It is subtracted from $m$
#   values: their gradients are added up.
#
# ## Every gradient, as arrays
#
# What is drawn can be had as numbers, to compare with your own step by
# step:

# %%
steps = plotting.batch_norm_steps(x, gamma, beta, dy)
for name, step in steps.items():
    equation = step.gradient_equation or "dy is given"
    print(f"{name:9} {step.value.shape!s:7} {equation}")

# %% [markdown]
# ## The short form
#
# Put together and simplified, all of this is one line. With a bar for
# the mean over the batch and $s = \sqrt{\sigma^2 + \varepsilon}$:
#
# $$dx_i = \frac{\gamma}{s} \left( dy_i - \overline{dy} -
# \hat{x}_i \, \overline{dy \, \hat{x}} \right)$$

# %%
_, cache = reference.batch_norm_forward(x, gamma, beta)
std = np.sqrt(cache.variance + cache.epsilon)
x_hat = cache.x_hat
dx = gamma / std * (dy - dy.mean(0) - x_hat * (dy * x_hat).mean(0))
print(f"largest difference: {abs(dx - steps['x'].gradient).max():.0e}")

# %% [markdown]
# ## What it means
#
# Read the line from the inside: take `dy`, take out its mean, take out
# its part along `x_hat`. What is left, scaled, is `dx`. In the language
# of vectors, a column of `dy` is *projected*: first across the direction
# $(1, \dots, 1)$, then across the direction of $\hat{x}$.

# %%
plotting.batch_norm_projection(x, gamma, dy, feature=0)

# %% [markdown]
# It could not be otherwise. Add the same number to the whole column of
# `x`: the mean takes it away again, and `y` stays as it was. So the loss
# does not change in this direction, and the gradient has nothing there.
# Stretch the column about its mean: the standard deviation takes it away
# again (but for $\varepsilon$), and the gradient has nothing there
# either.

# %%
print("sum of dx:        ", dx.sum(0).round(12))
print("sum of dx * x_hat:", (dx * x_hat).sum(0).round(4))

# %% [markdown]
# This is also why a check with a `dy` of ones proves nothing: such a `dy`
# has only a mean, all of it is taken out, and `dx` is 0. A wrong
# derivation gives 0 there as well, more often than not.
#
# ## What a wrong one is told
#
# `npbn.check_derivation` draws a random `dy`, compares with numeric
# derivatives, and holds what is wrong against the mistakes that people
# make. One that is made most often: the mean and the variance taken for
# constants.


# %%
def constants(dy, cache):
    x_hat, std, gamma = cache
    dx = gamma / std * dy
    return dx, (dy * x_hat).sum(0), dy.sum(0)


def forward(x, gamma, beta, epsilon=1e-3):
    std = np.sqrt(x.var(0) + epsilon)
    x_hat = (x - x.mean(0)) / std
    return gamma * x_hat + beta, (x_hat, std, gamma)


npbn.check_derivation(
    forward, constants, x, gamma, beta, like="batch_norm"
)

# %% [markdown]
# Two at once, in two gradients: the mean's term forgotten, and a mean
# over the batch where `dgamma` is a sum.


# %%
def two_mistakes(dy, cache):
    x_hat, std, gamma = cache
    dgamma = (dy * x_hat).mean(0)
    dx = gamma / std * (dy - x_hat * dgamma)
    return dx, dgamma, dy.sum(0)


npbn.check_derivation(
    forward, two_mistakes, x, gamma, beta, like="batch_norm"
)

# %% [markdown]
# And one that is right:


# %%
def right(dy, cache):
    x_hat, std, gamma = cache
    dbeta, dgamma = dy.sum(0), (dy * x_hat).sum(0)
    dx = gamma / std * (dy - (dbeta + x_hat * dgamma) / len(dy))
    return dx, dgamma, dbeta


npbn.check_derivation(forward, right, x, gamma, beta, like="batch_norm")

# %% [markdown]
# Now derive it yourself: exercise 4 of
# [the lesson](batch_normalization.ipynb) waits.
