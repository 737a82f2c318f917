# %% [markdown]
# # Solutions of the exercises
#
# The exercises are in
# [Batch normalization, from the idea to the backward pass](batch_normalization.ipynb)
# ([中文](solutions_zh.ipynb)). Try them first: a solution
# that one has read is soon forgotten, a mistake that one has found is
# not.

# %%
import numpy as np

import npbn
from npbn import BatchNorm

rng = np.random.default_rng(0)
x = rng.normal(2.0, 3.0, size=(8, 4))
gamma = rng.uniform(0.5, 1.5, size=4)
beta = rng.normal(size=4)

# %% [markdown]
# ## Exercise 1: forward, in training
#
# `mean(0)` and `var(0)` take one number for each column. NumPy's `var`
# divides by $m$, as batch norm does; `var(0, ddof=1)` would divide by
# $m - 1$.


# %% tags=["exercise-1"]
def forward(x, gamma, beta, epsilon=1e-3):
    mean = x.mean(0)
    variance = ((x - mean) ** 2).mean(0)
    std = np.sqrt(variance + epsilon)
    x_hat = (x - mean) / std
    y = gamma * x_hat + beta
    return y, (x_hat, std, gamma, mean, variance)


# %% [markdown]
# ## Exercise 2: running averages
#
# The momentum is the weight of the old value. After $k$ batches the
# start value still has the weight $0.99^k$: 0.37 after 100, next to
# nothing after 1,000.


# %% tags=["exercise-2"]
def update(population, batch, momentum=0.99):
    return momentum * population + (1 - momentum) * batch


# %%
layer = BatchNorm(4, dtype=np.float64)
mean = np.zeros(4)
for _ in range(100):
    layer.forward(rng.normal(2.0, 3.0, (8, 4)), training=True)
    mean = update(mean, layer.batch_mean)
difference = abs(mean - layer.population_mean).max()
print(f"largest difference: {difference:.0e}")

# %% [markdown]
# ## Exercise 3: inference
#
# Nothing here depends on the other rows of `x`: each example gets the
# same answer, whoever is beside it.


# %% tags=["exercise-3"]
def inference(x, gamma, beta, mean, variance, epsilon=1e-3):
    return gamma * (x - mean) / np.sqrt(variance + epsilon) + beta


# %% [markdown]
# ## Exercise 4: the backward pass
#
# Write $L$ for the loss, $dy_i$ for $\partial L / \partial y_i$, and
# $s = \sqrt{\sigma^2 + \varepsilon}$. All of it is for one feature.
#
# **The parameters.** $y_i = \gamma \hat{x}_i + \beta$, so
#
# $$d\beta = \sum_i dy_i \qquad d\gamma = \sum_i dy_i \, \hat{x}_i$$
#
# $$d\hat{x}_i = \gamma \, dy_i$$
#
# **Through the variance.** $\hat{x}_i = (x_i - \mu) \, s^{-1}$ and
# $\partial s^{-1} / \partial \sigma^2 = -\tfrac{1}{2} s^{-3}$, so
#
# $$d\sigma^2 = -\frac{1}{2 s^3} \sum_i d\hat{x}_i \, (x_i - \mu) =
# -\frac{\gamma \, d\gamma}{2 s^2}$$
#
# **Through the mean.** $\mu$ is in $\hat{x}_i$, and in $\sigma^2$ as
# well, but there its share is 0, since $\sum_i (x_i - \mu) = 0$:
#
# $$d\mu = -\frac{1}{s} \sum_i d\hat{x}_i = -\frac{\gamma \, d\beta}{s}$$
#
# **Together.** $x_i$ acts by itself, through $\sigma^2$ (with
# $\partial \sigma^2 / \partial x_i = 2 (x_i - \mu) / m$) and through
# $\mu$ (with $1 / m$):
#
# $$dx_i = \frac{d\hat{x}_i}{s} + d\sigma^2 \, \frac{2 (x_i - \mu)}{m} +
# \frac{d\mu}{m}$$
#
# Put in what stands above, and take out $\gamma / s$:
#
# $$dx_i = \frac{\gamma}{s} \left( dy_i - \frac{d\beta}{m} -
# \hat{x}_i \, \frac{d\gamma}{m} \right)$$


# %% tags=["exercise-4"]
def backward(dy, cache):
    x_hat, std, gamma, _, _ = cache
    m = len(dy)
    dbeta = dy.sum(0)
    dgamma = (dy * x_hat).sum(0)
    dx = gamma / std * (dy - dbeta / m - x_hat * dgamma / m)
    return dx, dgamma, dbeta


# %%
npbn.check_derivation(
    forward, backward, x, gamma, beta, like="batch_norm"
)

# %% [markdown]
# npbn has the same twice more: as the paper states it, step by step, in
# `npbn.reference`, and fast, in `npbn.functional`.
