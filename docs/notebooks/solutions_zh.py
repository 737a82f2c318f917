# %% [markdown]
# # 练习的答案
#
# 练习在[批量归一化：从想法到反向传播](batch_normalization_zh.ipynb)里（[English](solutions.ipynb)）。请先自己做：读过的答案很快就忘，自己找到的错误不会忘。

# %%
import numpy as np

import npbn
from npbn import BatchNorm

rng = np.random.default_rng(0)
x = rng.normal(2.0, 3.0, size=(8, 4))
gamma = rng.uniform(0.5, 1.5, size=4)
beta = rng.normal(size=4)

# %% [markdown]
# ## 练习 1：训练时的前向传播
#
# `mean(0)` 和 `var(0)` 对每一列各给出一个数。NumPy 的 `var` 除以 $m$，和批量归一化一样；`var(0, ddof=1)` 则除以 $m - 1$。


# %% tags=["exercise-1"]
def forward(x, gamma, beta, epsilon=1e-3):
    mean = x.mean(0)
    variance = ((x - mean) ** 2).mean(0)
    std = np.sqrt(variance + epsilon)
    x_hat = (x - mean) / std
    y = gamma * x_hat + beta
    return y, (x_hat, std, gamma, mean, variance)


# %% [markdown]
# ## 练习 2：滑动平均
#
# 动量是旧值的权重。经过 $k$ 个批次，初始值的权重还剩 $0.99^k$：100 个批次之后是 0.37，1,000 个之后几乎为零。


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
print(f"最大差别：{difference:.0e}")

# %% [markdown]
# ## 练习 3：推理
#
# 这里没有任何东西取决于 `x` 的其他行：不论和谁放在一起，每个样本得到的答案都一样。


# %% tags=["exercise-3"]
def inference(x, gamma, beta, mean, variance, epsilon=1e-3):
    return gamma * (x - mean) / np.sqrt(variance + epsilon) + beta


# %% [markdown]
# ## 练习 4：反向传播
#
# 记 $L$ 为损失，$dy_i$ 为 $\partial L / \partial y_i$，$s = \sqrt{\sigma^2 + \varepsilon}$。以下都是对一个特征而言。
#
# **参数。** $y_i = \gamma \hat{x}_i + \beta$，所以
#
# $$d\beta = \sum_i dy_i \qquad d\gamma = \sum_i dy_i \, \hat{x}_i$$
#
# $$d\hat{x}_i = \gamma \, dy_i$$
#
# **通过方差。** $\hat{x}_i = (x_i - \mu) \, s^{-1}$，并且 $\partial s^{-1} / \partial \sigma^2 = -\tfrac{1}{2} s^{-3}$，所以
#
# $$d\sigma^2 = -\frac{1}{2 s^3} \sum_i d\hat{x}_i \, (x_i - \mu) = -\frac{\gamma \, d\gamma}{2 s^2}$$
#
# **通过均值。** $\mu$ 出现在 $\hat{x}_i$ 里，也出现在 $\sigma^2$ 里，但后者的贡献是 0，因为 $\sum_i (x_i - \mu) = 0$：
#
# $$d\mu = -\frac{1}{s} \sum_i d\hat{x}_i = -\frac{\gamma \, d\beta}{s}$$
#
# **合在一起。** $x_i$ 的作用分三路：直接作用，通过 $\sigma^2$（$\partial \sigma^2 / \partial x_i = 2 (x_i - \mu) / m$），通过 $\mu$（$1 / m$）：
#
# $$dx_i = \frac{d\hat{x}_i}{s} + d\sigma^2 \, \frac{2 (x_i - \mu)}{m} + \frac{d\mu}{m}$$
#
# 代入上面的结果，提出 $\gamma / s$：
#
# $$dx_i = \frac{\gamma}{s} \left( dy_i - \frac{d\beta}{m} - \hat{x}_i \, \frac{d\gamma}{m} \right)$$


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
# 同样的内容 npbn 里还有两份：`npbn.reference` 按论文的步骤一步一步写出，`npbn.functional` 则是快速的版本。
