# %% [markdown]
# # 批量归一化：从想法到反向传播
#
# 这份笔记沿着一门知名课程的脉络展开，即 Udacity 2017 年的 *Batch Normalization*，原课是为 TensorFlow 1 写的。这里的全部内容都在 npbn 上运行，它是一个纯 NumPy 的引擎，没有任何东西藏在黑箱里。
#
# 1. 什么是批量归一化
# 2. 它有什么好处
# 3. 怎样把它放进网络
# 4. 有它和没有它的网络，并排比较
# 5. 推理时会出什么错
# 6. 三种写法
# 7. 亲手实现：四个练习
# 8. 其他类型的网络
#
# 整份笔记不到一分钟就能跑完。为了不让任何人久等，网络只用 npbn 自带的 5,000 个 MNIST 数字训练，而不是全部 70,000 个；原课在完整 MNIST 上得到的数字会列在旁边，供你对照。

# %% [markdown]
# ## 什么是批量归一化
#
# 如果输入以 0 为中心、各个特征的离散程度又相近，网络就学得更好。这一点对第一层成立，对其余各层也同样成立，因为它们也有输入：就是前一层的输出。Sergey Ioffe 和 Christian Szegedy 在 [2015 年](https://arxiv.org/abs/1502.03167)提出，把这些中间的输入也做归一化，并且在每一步训练中都用当前这个*批次*的均值和方差重新计算。“批量归一化”因此得名。
#
# 设 $x_1, \dots, x_m$ 是某一个特征（某个神经元在激活之前算出的值）在一个批次的 $m$ 个样本上的取值，那么
#
# $$\mu = \frac{1}{m} \sum_{i=1}^{m} x_i \qquad\text{(批次均值)}$$
#
# $$\sigma^2 = \frac{1}{m} \sum_{i=1}^{m} (x_i - \mu)^2 \qquad\text{(批次方差)}$$
#
# $$\hat{x}_i = \frac{x_i - \mu}{\sqrt{\sigma^2 + \varepsilon}} \qquad\text{(归一化)}$$
#
# $$y_i = \gamma \, \hat{x}_i + \beta \qquad\text{(缩放和平移)}$$
#
# $\varepsilon$ 是一个很小的常数，这里取 0.001，它使根号下的值不会变成 0。最后一行把前一行拿走的自由度还了回来：$\gamma$ 和 $\beta$ 像权重一样参与学习，每个特征各有一对；如果均值 0、标准差 1 不是最合适的，网络可以自己选择别的均值和别的标准差。
#
# 每个特征都有自己的 $\mu$、$\sigma^2$、$\gamma$ 和 $\beta$；同一批次的所有样本共用它们。

# %% [markdown]
# ### 为什么会有帮助？
#
# - *尺度。* 把前面的权重全部乘以 10，输出并不改变。因此，初始权重取得过大或过小时危害较小，梯度下降迈得过大的一步也是如此。
# - *激活函数。* sigmoid 除了 0 附近几乎是平的；如果一个 ReLU 对所有样本的输入都小于 0，它就不再传回任何梯度。归一化之后，输入正好落在激活函数有坡度的地方。
# - *损失曲面。* 两位作者的解释是*内部协变量偏移*（internal covariate shift）：前面的层在学习，所以每一层面对的输入一直在移动。后来的研究（Santurkar 等，2018）发现这并不是关键；批量归一化使损失变得更平滑，因此一个梯度在更长的一步之内仍然可靠。
#
# 前两点在下面都能亲眼看到。

# %% [markdown]
# ## 它有什么好处
#
# 原课给出了七条承诺：
#
# 1. **训练更快。** 每一步要算的东西更多，所以单步更慢，但需要的步数少得多。
# 2. **可以用更高的学习率。** 普通的梯度下降早已发散的地方，它还能继续学习。
# 3. **更容易选初始权重。** 权重怎样初始化，不再那么要紧。
# 4. **更多的激活函数可用。** 连 sigmoid 也能用在深层网络里，死掉的 ReLU 也更少。
# 5. **可以用更深的网络。** 这是前四条的结果。
# 6. **有一点正则化作用。** 一个样本的输出取决于同批次的其他样本，这种噪声的作用有点像 dropout。
# 7. **总体结果更好。**
#
# 承诺是可以检验的。npbn 的测量先为这七条各定一条判定规则，然后把原课的全部网络各用五个随机种子跑了一遍：五条成立。第二条不成立（ReLU 网络能承受的学习率是原来的三倍，而不是十倍），第六条也不成立（只用 1,000 张图像训练时，测试准确率反而*低了* 0.008）。

# %% [markdown]
# ## 怎样把它放进网络
#
# 先导入这份笔记需要的东西。

# %% tags=["setup"]
from contextlib import contextmanager
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display

import npbn
from npbn import SGD, BatchNorm, Dense, Layer, ReLU, Sequential, Sigmoid
from npbn import datasets, fit, functional, lesson, plotting, reference

plt.rcParams["figure.figsize"] = 6, 3.5

# %% [markdown]
# ### 数据
#
# 每张图像 28 × 28 个像素，取值从 0 到 1，排成 784 个数；4,000 张用于训练，500 张用于验证，500 张用于测试。

# %%
digits = datasets.load_mnist_5k()
print(digits)

images, labels = digits.train
fig, axes = plt.subplots(2, 10, figsize=(8, 1.9))
for ax, image, label in zip(axes.flat, images, labels, strict=False):
    ax.imshow(image.reshape(28, 28), cmap="gray_r")
    ax.set_title(label)
    ax.axis("off")
plt.show()

# %% [markdown]
# ### 网络
#
# `NeuralNet(initial_weights, activation_fn, use_batch_norm)` 就是原课的那个类。初始权重从外面传入，这样两个网络就能从完全相同的权重出发；有几层、每层多大，由权重的形状决定。原课的网络有三个隐藏层，每层 100 个神经元。

# %%
weights = lesson.initial_weights(use_bad_weights=False, seed=0)
print([weight.shape for weight in weights])

with_norm = lesson.NeuralNet(weights, ReLU, use_batch_norm=True)
without = lesson.NeuralNet(weights, ReLU, use_batch_norm=False)
with_norm.network

# %% [markdown]
# 和没有批量归一化的那一个对比一下：

# %%
without.network

# %% [markdown]
# 有四点值得注意。
#
# 1. 做归一化的层**没有偏置**。偏置加上去的东西，减均值时又被减掉了；它的工作由 $\beta$ 来做。
# 2. 批量归一化放在**激活函数之前**，作用于矩阵乘积的输出。（放在激活之后也可以；论文和原课都放在之前。）
# 3. **输出层**不做归一化：它的输出就是十个类别的得分。
# 4. 层必须知道现在**是不是在训练**：训练时用批次的统计量，其他时候用*总体*的统计量，后面会细讲。

# %% [markdown]
# ### 训练中的一步
#
# 在 npbn 里，模式是一个参数：`training=True`。在这个模式下，前向传播还会顺便更新总体的统计量。（在 TensorFlow 1 里，这些更新要自己安排执行，忘记这一步是使用批量归一化时最常见的错误。忘了会怎样，下面会看到。）

# %%
net = with_norm.network
optimizer = SGD(0.1)
batch_images, batch_labels = images[:60], labels[:60]

print("更新前的总体均值：", net.layers[1].population_mean[:3])
outputs = net.forward(batch_images, training=True)
loss, doutputs = functional.softmax_cross_entropy(outputs, batch_labels)
net.backward(doutputs)
optimizer.step(net)
print("更新后的总体均值：", net.layers[1].population_mean[:3])
print(f"损失：{loss:.3f}")

# %% [markdown]
# `fit` 会把这样的一步重复任意多次，`NeuralNet.train` 调用的就是 `fit`。

# %% [markdown]
# ## 有它和没有它的网络，并排比较
#
# `train_and_test` 用同样的初始权重建立两个网络，一个没有批量归一化，一个有；用同样顺序的同样批次训练，分别测试，再画出验证准确率随训练的变化。它的参数和原课一样：是否用坏的初始权重、学习率、激活函数、训练多少个批次、每隔多少个批次记录一次准确率。
#
# 原课的多数实验训练 50,000 个批次。这里用 1,000 个，第一个实验用 4,000 个。

# %%
train_and_test = partial(
    lesson.train_and_test, data=digits, seed=0, progress=False
)
runs = {}

# %% [markdown]
# ### 好权重，学习率 0.01，ReLU
#
# 这是一个容易的任务：权重很小，标准差 0.05，学习率也谨慎。两个网络应该都能学会。

# %%
runs[1] = train_and_test(False, 0.01, ReLU, 4000, 100)

# %% [markdown]
# 两个都学会了，最后也相差不远，但有批量归一化的那个早得多就到了。（原课训练 50,000 个批次之后：没有批量归一化的是 0.973，有的是 0.982。）
#
# ### 同样的设置，只训练很短时间
#
# 把开头放大来看，差别大半就在这里。

# %%
runs[2] = train_and_test(False, 0.01, ReLU, 1000, 25)

# %% [markdown]
# 两个网络各要多少步才能答对 80 %？第一个实验够长，可以回答。

# %%
for net in runs[1]:
    reached = np.array(net.training_accuracies) >= 0.8
    print(f"{net.name}: {100 * reached.argmax():,} 步")

# %% [markdown]
# ### 好权重，学习率 0.01，sigmoid
#
# 只换激活函数，其他不变。sigmoid 的斜率最多只有 1/4，三个接连相乘，梯度就所剩无几了。

# %%
runs[3] = train_and_test(False, 0.01, Sigmoid, 1000, 25)

# %% [markdown]
# 没有批量归一化的网络还在瞎猜：十个里对一个。（在原课里，它用了 50,000 个批次的大半才达到 0.834。）
#
# ### 好权重，学习率 1，ReLU
#
# 学习率提高到一百倍。

# %%
runs[4] = train_and_test(False, 1, ReLU, 1000, 25)

# %% [markdown]
# 有批量归一化时，这个学习率完全没有问题。没有它，网络能不能活下来就要看运气了。下面换一组初始权重和批次：

# %%
runs[5] = train_and_test(False, 1, ReLU, 1000, 25, seed=1)

# %% [markdown]
# 原课把这个实验也做了两遍，没有批量归一化的网络两次都停在十分之一。
#
# ### 好权重，学习率 1，sigmoid

# %%
runs[7] = train_and_test(False, 1, Sigmoid, 1000, 25)

# %% [markdown]
# sigmoid 不会像 ReLU 那样发散，所以高学习率对没有批量归一化的网络也有帮助。它起步晚，步数多了就会接近。（原课训练 50,000 个批次之后：0.978 和 0.984。）
#
# ### 好权重，学习率 2，ReLU

# %%
runs[8] = train_and_test(False, 2, ReLU, 1000, 25)

# %% [markdown]
# 没有批量归一化，这个学习率就太高了。有了它，网络几乎不受影响。
#
# ### 好权重，学习率 2，sigmoid

# %%
runs[10] = train_and_test(False, 2, Sigmoid, 1000, 25)

# %% [markdown]
# 用 sigmoid 时，没有批量归一化的网络也经得住这个学习率。有批量归一化的那个，只用四分之一的步数就到了。
#
# ### 坏权重，学习率 0.01，ReLU
#
# 现在初始权重的标准差是 5，大了一百倍。784 个像素加权求和，得到的数非常大，每过一层还要更大。

# %%
runs[11] = train_and_test(True, 0.01, ReLU, 1000, 25)

# %% [markdown]
# 没有批量归一化：什么也没学到。有了它，网络能学，只是很慢，因为对大小为 5 的权重来说，0.01 的一步太小了。（原课：0.096 和 0.795。）
#
# ### 坏权重，学习率 0.01，sigmoid

# %%
runs[12] = train_and_test(True, 0.01, Sigmoid, 1000, 25)

# %% [markdown]
# 没有批量归一化时，几乎所有 sigmoid 的输出都在 0 或 1，那里是平的。后面有一张图专门展示这一点。
#
# ### 坏权重，学习率 1，ReLU

# %%
runs[13] = train_and_test(True, 1, ReLU, 1000, 25)

# %% [markdown]
# 单靠提高学习率，在这里帮不上忙：许多神经元在最初几步就死掉了，网络剩下的部分还能学到一些。
#
# ### 坏权重，学习率 1，sigmoid

# %%
runs[14] = train_and_test(True, 1, Sigmoid, 1000, 25)

# %% [markdown]
# 坏权重里最好的一个：权重大，步子也大，激活函数又不会发散。
#
# ### 坏权重，学习率 2，ReLU

# %%
runs[15] = train_and_test(True, 2, ReLU, 1000, 25)

# %% [markdown]
# 即使有批量归一化，也几乎学不到什么。（原课有一次运气好，50,000 个批次之后达到 0.913；另一次没有，停在 0.099。）
#
# ### 坏权重，学习率 2，sigmoid

# %%
runs[16] = train_and_test(True, 2, Sigmoid, 1000, 25)

# %% [markdown]
# ### 与原课的全部结果对照
#
# 这里是训练结束时的验证准确率。原课报告的数字，npbn 里都有（`lesson.reported_runs()`），实验的编号也与原课相同；有四个实验只是换了训练长度或另抽一次，这里略去。这里的网络把 4,000 张图像看了 15 遍（实验 1 是 60 遍）；原课大多是把 55,000 张图像看了 55 遍，所以右边的数字更大。两边相同的，是谁领先。

# %%
print(" " * 28 + "this notebook     the lesson")
print("run weights rate activation", end="  ")
print("without  with   without  with")
for known in lesson.reported_runs():
    if known.run not in runs:
        continue
    here = [
        net.history.final_validation_accuracy for net in runs[known.run]
    ]
    print(
        f"{known.run:3} {known.initial_weights:7} "
        f"{known.learning_rate:4} {known.activation:10} "
        f"{here[0]:8.3f}{here[1]:7.3f}"
        f"{known.validation_without:9.3f}"
        f"{known.validation_with:7.3f}"
    )

# %% [markdown]
# ### 它不是魔法
#
# 从坏权重、高学习率出发，批量归一化也要靠运气：ReLU 可能在最初几步就死掉。原课展示了两个实验，其中两个网络都停在十分之一。下面把学习率为 1 的那个实验重做五次，都用批量归一化：

# %%
histories = {}
for seed in range(5):
    bad = lesson.initial_weights(use_bad_weights=True, seed=seed)
    net = lesson.NeuralNet(bad, ReLU, use_batch_norm=True)
    histories[f"seed {seed}"] = fit(
        net.network,
        digits.train,
        digits.validation,
        optimizer=SGD(1.0),
        steps=1000,
        sample_every=25,
        seed=seed,
        progress=False,
    )
plotting.training_accuracies(histories, scale="linear")

# %% [markdown]
# 所以，批量归一化能包容很多，但合理的初始权重和学习率仍然需要。下结论时要看多次实验，不能只看一次。
#
# ### 往里看一眼
#
# 在实验 14 的 1,000 步里，从坏权重出发，进入 sigmoid 的是些什么值？线是一层全部输入的中位数，色带包含其中的 68 % 和 95 %。sigmoid 在 -4 和 4 之外是平的。（离 0 稍远，纵轴就是对数刻度。）

# %%
bad = lesson.initial_weights(use_bad_weights=True, seed=0)
records = {}
for use_batch_norm in (False, True):
    net = lesson.NeuralNet(bad, Sigmoid, use_batch_norm)
    record = plotting.ActivationRecord(digits.validation[0])
    record(net.network)
    fit(
        net.network,
        digits.train,
        optimizer=SGD(1.0),
        steps=1000,
        sample_every=20,
        callback=record,
        progress=False,
    )
    records[net.name] = record
plotting.activation_bands(records)

# %% [markdown]
# ## 推理时会出什么错
#
# 训练时，每个批次用自己的均值和方差归一化。到了推理，也就是真正使用网络的时候，这样做有两个问题。第一，一张图像的答案不应该取决于同时问了哪些别的图像。第二，只有一张图像时根本没有方差：$\mu = x$，于是 $\hat{x} = 0$，$y = \beta$，不管图上画的是什么。
#
# 所以，层要在训练时对见过的统计量做滑动平均，得到*总体*的均值和方差，推理时就用它们：
#
# $$\text{总体} \leftarrow 0.99 \cdot \text{总体} + 0.01 \cdot \text{批次}$$
#
# 0.99 叫作*动量*（momentum），是旧值的权重。（PyTorch 的定义正好相反：它的 0.01 就是 Keras、原课和 npbn 的 0.99。）
#
# 原课的演示是：训练一个网络，然后一张一张地问它 200 张图像。先用所问图像自己的统计量，这就是错误的做法：

# %%
net = lesson.batch_norm_test(True, data=digits, seed=0, progress=False)

# %% [markdown]
# 永远是同一个数字。从*整个*测试集的准确率看不出毛病，因为 500 张图像放在一起，统计量是好的。现在改用总体的统计量：

# %%
net = lesson.batch_norm_test(False, data=digits, seed=0, progress=False)

# %% [markdown]
# ### 从来没有更新过的统计量
#
# 另一种出错的方式：训练一切正常，可是滑动平均从来没有更新，一直停在 0 和 1。把动量设为 1，效果正是如此，因为旧值被永远保留。

# %%
layers = []
*hidden, last = lesson.initial_weights(False, seed=0)
for weight in hidden:
    layers += [
        Dense(*weight.shape, use_bias=False, weight=weight),
        BatchNorm(100, momentum=1.0),
        Sigmoid(),
    ]
net = Sequential([*layers, Dense(100, 10, weight=last)])
fit(
    net,
    digits.train,
    optimizer=SGD(0.1),
    steps=1000,
    progress=False,
)

test_images, test_labels = digits.test
by_batch = net.accuracy(test_images, test_labels, statistics="batch")
print(f"用测试批次的统计量：{by_batch:.3f}")
by_population = net.accuracy(test_images, test_labels)
print(f"用总体的统计量：    {by_population:.3f}")

# %% [markdown]
# 权重没有问题，有问题的只是统计量。所以不用再训练就能修复：`recompute_population` 让图像通过网络，为每一层设置精确的均值和方差。

# %%
net.recompute_population(digits.train[0])
repaired = net.accuracy(test_images, test_labels)
print(f"用重新计算的总体统计量：{repaired:.3f}")

# %% [markdown]
# ## 三种写法
#
# 放进网络之前，先用数字看一看批量归一化：60 张图像的一个批次，第一次矩阵乘积的输出，100 个特征中取三个。

# %%
x = images[:60] @ weights[0][:, :3]
gamma = np.array([1.0, 0.5, 2.0], dtype=np.float32)
beta = np.array([0.0, 1.0, -1.0], dtype=np.float32)
y, cache = functional.batch_norm_forward(x, gamma, beta)

for name, array in (("x", x), ("x_hat", cache.x_hat), ("y", y)):
    print(f"{name:5} mean {array.mean(0).round(3)}")
    print(f"{'':5} std  {array.std(0).round(3)}")

# %% [markdown]
# $\hat{x}$ 的均值是 0，标准差是 1（因为有 $\varepsilon$，略小于 1）；$y$ 的均值是 $\beta$，标准差是 $\gamma$。
#
# ### 1. 层
#
# `BatchNorm(100)` 包办一切：归一化，保存 gamma、beta 和总体统计量，也会反向传播。`NeuralNet` 用的就是它：
#
# ```python
# Dense(784, 100, use_bias=False), BatchNorm(100), ReLU()
# ```
#
# ### 2. 函数
#
# 数学由 `npbn.functional` 来做，外面的层只负责记账：哪些要学习（gamma 和 beta），哪些不学习、只跟着更新（总体统计量），哪种模式用哪个公式。前向传播存进 `self.cache` 的东西，由 `take_cache` 交给反向传播，只交一次。


# %%
class WithFunctions(Layer):
    def __init__(self, features):
        zeros, ones = np.zeros(features), np.ones(features)
        super().__init__(
            parameters={"gamma": ones, "beta": zeros},
            state={"mean": zeros, "variance": ones},
        )

    def forward(self, x, training=False):
        gamma, beta = self.parameters.values()
        mean, variance = self.state.values()
        if not training:
            return functional.batch_norm_inference(
                x, gamma, beta, mean, variance
            )
        y, self.cache = functional.batch_norm_forward(x, gamma, beta)
        mean[...] = reference.update_population(mean, self.cache.mean)
        variance[...] = reference.update_population(
            variance, self.cache.variance
        )
        return y

    def backward(self, dy):
        dx, dgamma, dbeta = functional.batch_norm_backward(
            dy, self.take_cache()
        )
        self.gradients["gamma"][...] = dgamma
        self.gradients["beta"][...] = dbeta
        return dx


# %% [markdown]
# 要确认两者是一回事，就从同样的权重出发，用同样的批次训练两个网络，逐步比较损失。（用 float64，舍入误差小到可以忽略。）


# %%
def losses_with(make_layer, steps=200):
    """每一步的损失；批量归一化层由 make_layer 建立。"""
    layers = []
    for weight in lesson.initial_weights(False, seed=0):
        weight = weight.astype(np.float64)
        last = weight.shape[1] == 10
        layers.append(
            Dense(*weight.shape, use_bias=last, weight=weight)
        )
        if not last:
            layers += [make_layer(100), ReLU()]
    history = fit(
        Sequential(layers),
        (images.astype(np.float64), labels),
        optimizer=SGD(0.1),
        steps=steps,
        progress=False,
    )
    return np.array(history.losses)


losses = losses_with(partial(BatchNorm, dtype=np.float64))
others = losses_with(WithFunctions)
print(f"损失：开始时 {losses[0]:.3f}，结束时 {losses[-1]:.3f}")
print(f"最大差别：{abs(losses - others).max():.0e}")

# %% [markdown]
# ### 3. 只用公式
#
# 除了 NumPy 什么也不用。这一种留给你来写。

# %% [markdown]
# ## 亲手实现：四个练习
#
# 每个练习里都有一个带空白的函数。把每个 `blank(...)` 换成一个表达式，运行这个单元格，再运行它下面的检查。在填好之前，检查会告诉你这个练习还没有完成。
#
# 答案在[另一份笔记](solutions_zh.ipynb)里。


# %% tags=["exercises"]
def blank(what):
    """占位：这里要填上你自己的内容。"""
    raise NotImplementedError(what)


@contextmanager
def exercise(number):
    """还有空白没填时，给出提示。"""
    try:
        yield
    except NotImplementedError as missing:
        print(f"练习 {number} 还没有完成：{missing}")


rng = np.random.default_rng(0)
x = rng.normal(2.0, 3.0, size=(8, 4))
gamma = rng.uniform(0.5, 1.5, size=4)
beta = rng.normal(size=4)

# %% [markdown]
# ### 检查会说些什么
#
# `npbn.check_derivation(forward, backward, x, gamma, beta)` 用随机的上游梯度 `dy`，把你的反向传播与数值导数对照。加上 `like="batch_norm"`，它还知道正确结果应该是什么；如果你的结果不对，它会去找错在哪里。下面这个反向传播把均值和方差当成了常数：


# %%
def forgetful_backward(dy, cache):
    std = np.sqrt(cache.variance + cache.epsilon)
    dx = dy * cache.gamma / std
    _, dgamma, dbeta = reference.batch_norm_backward(dy, cache)
    return dx, dgamma, dbeta


npbn.check_derivation(
    reference.batch_norm_forward,
    forgetful_backward,
    x,
    gamma,
    beta,
    like="batch_norm",
)

# %% [markdown]
# ### 练习 1：训练时的前向传播
#
# 写出本文开头的四个公式。`x` 的形状是 (m, D)：m 个样本是行，D 个特征是列。`mean` 和 `variance` 的形状是 (D,)。
#
# 反向传播（练习 4）要用到的东西，和 `y` 一起返回。


# %% tags=["exercise-1"]
def forward(x, gamma, beta, epsilon=1e-3):
    mean = blank("mean，x 每一列的均值")
    variance = blank("variance，x 每一列的方差")
    std = np.sqrt(variance + epsilon)
    x_hat = blank("x_hat，由 x、mean 和 std 算出")
    y = blank("y，由 x_hat、gamma 和 beta 算出")
    return y, (x_hat, std, gamma, mean, variance)


# %% [markdown]
# 这个检查只看 `y`，所以反向传播用的是 npbn 自己的。读关于 `y` 的那几行就行：说某个梯度“belongs to another forward pass”，意思是它属于另一个前向传播，`y` 对了，它也就对了。


# %%
def forward_to_check(x, gamma, beta):
    y, _ = forward(x, gamma, beta)
    _, cache = reference.batch_norm_forward(x, gamma, beta)
    return y, cache


with exercise(1):
    report = npbn.check_derivation(
        forward_to_check,
        reference.batch_norm_backward,
        x,
        gamma,
        beta,
        like="batch_norm",
    )
    display(report)

# %% [markdown]
# ### 练习 2：滑动平均
#
# 滑动平均的一步，均值和方差都用它。动量是旧值的权重。


# %% tags=["exercise-2"]
def update(population, batch, momentum=0.99):
    return blank("由 population、batch 和 momentum 算出")


# %% [markdown]
# 检查会跟着一个 `BatchNorm` 走过 100 个批次。

# %%
with exercise(2):
    layer = BatchNorm(4, dtype=np.float64)
    mean, variance = np.zeros(4), np.ones(4)
    for _ in range(100):
        layer.forward(rng.normal(2.0, 3.0, (8, 4)), training=True)
        mean = update(mean, layer.batch_mean)
        variance = update(variance, layer.batch_variance)
    print("均值，你的：    ", mean.round(3))
    print("均值，npbn 的：  ", layer.population_mean.round(3))
    print("方差，你的：    ", variance.round(3))
    print("方差，npbn 的：  ", layer.population_variance.round(3))
    right = np.allclose(mean, layer.population_mean)
    right &= np.allclose(variance, layer.population_variance)
    print("正确。" if right else "还不对。")

# %% [markdown]
# 如果你的值从一开始就紧跟着批次的统计量，那就是动量乘错了对象。
#
# ### 练习 3：推理
#
# 同样的归一化，但统计量是给定的，即总体的统计量，不再对 `x` 求均值和方差。


# %% tags=["exercise-3"]
def inference(x, gamma, beta, mean, variance, epsilon=1e-3):
    return blank("y，由全部参数算出")


# %% [markdown]
# 这里均值和方差对反向传播来说是常数，反向传播仍用 npbn 自己的。


# %%
def inference_to_check(x, gamma, beta, mean, variance):
    y = inference(x, gamma, beta, mean, variance)
    return y, (x, gamma, mean, variance)


def inference_backward(dy, cache):
    return reference.batch_norm_inference_backward(dy, *cache)


with exercise(3):
    report = npbn.check_derivation(
        inference_to_check,
        inference_backward,
        x,
        gamma,
        beta,
        rng.normal(2.0, 1.0, size=4),
        rng.uniform(4.0, 12.0, size=4),
        like="batch_norm_inference",
    )
    display(report)

# %% [markdown]
# ### 练习 4：反向传播
#
# `dy` 是损失对 `y` 的每个值的梯度。已知 `dy`，求损失对 `x`、`gamma` 和 `beta` 的梯度。这个检查还要用到你在练习 1 里写的前向传播。
#
# - `dbeta` 和 `dgamma` 很短：$\beta$ 和 $\gamma$ 的每个值作用于 `y` 的一整列，所以它们的梯度是对这一列求和。
# - `dx` 才是难点。$x_i$ 通过三条路影响损失：直接影响、通过均值、通过方差。均值和方差属于整个批次，所以每个 $x_i$ 在 `y` 的*每一行*里都有份。
#
# 如果卡住了，可以看[画出来的反向传播](backward_pass_drawn.ipynb)（英文）：它一个节点一个节点地走完全程，并把结果表示成一个投影。


# %% tags=["exercise-4"]
def backward(dy, cache):
    x_hat, std, gamma, _, _ = cache
    m = len(dy)
    dbeta = blank("dbeta，形状 (D,)")
    dgamma = blank("dgamma，形状 (D,)")
    dx = blank("dx，形状 (m, D)")
    return dx, dgamma, dbeta


# %%
with exercise(4):
    report = npbn.check_derivation(
        forward, backward, x, gamma, beta, like="batch_norm"
    )
    display(report)

# %% [markdown]
# ### 合在一起
#
# 你的四个函数组成一个层，层组成一个能学习的网络。它的损失应当和上面两个网络一样，差别只来自舍入：1e-12 或更小。


# %%
class ByHand(WithFunctions):
    def forward(self, x, training=False):
        gamma, beta = self.parameters.values()
        mean, variance = self.state.values()
        if not training:
            return inference(x, gamma, beta, mean, variance)
        y, self.cache = forward(x, gamma, beta)
        *_, batch_mean, batch_variance = self.cache
        mean[...] = update(mean, batch_mean)
        variance[...] = update(variance, batch_variance)
        return y

    def backward(self, dy):
        dx, dgamma, dbeta = backward(dy, self.take_cache())
        self.gradients["gamma"][...] = dgamma
        self.gradients["beta"][...] = dbeta
        return dx


with exercise("1、2、3 或 4"):
    yours = losses_with(ByHand)
    print(f"最大差别：{abs(losses - yours).max():.0e}")

# %% [markdown]
# ## 其他类型的网络
#
# ### 卷积
#
# 卷积核滑过整张图像，它算出的所有值属于同一个特征。所以每个*通道*有一个均值和一个方差，对图像、行、列一起求。在 npbn 里，通道是最后一个轴，`BatchNorm` 在其余所有的轴上求统计量：

# %%
feature_maps = rng.normal(size=(60, 14, 14, 16)).astype(np.float32)
layer = BatchNorm(16)
layer.forward(feature_maps, training=True)
difference = layer.batch_mean - feature_maps.mean((0, 1, 2))
print(f"均值的形状：{layer.batch_mean.shape}")
print(f"最大差别：{abs(difference).max():.0e}")

# %% [markdown]
# 接着看[卷积网络的批量归一化](convolutional_batch_norm.ipynb)（英文）。
#
# ### 循环网络
#
# 循环网络把同一层用很多次，序列的每一步用一次；第一步进入这一层的东西，和最后一步并不相同。所以每一步都有自己的统计量（Cooijmans 等，[2016](https://arxiv.org/abs/1603.09025)）。接着看[循环网络的批量归一化](recurrent_batch_norm.ipynb)（英文）。
#
# ### 更多（英文）
#
# - [一步训练里发生了什么](one_training_step.ipynb)：把每一次 NumPy 调用都打印出来。
# - [用自己的数据，写自己的层](own_data_own_layer.ipynb)。
# - [画出来的反向传播](backward_pass_drawn.ipynb)。
