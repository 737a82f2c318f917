# %% [markdown]
# # Batch normalization, from the idea to the backward pass
#
# This notebook follows the course of a well-known lesson, Udacity's
# *Batch Normalization* of 2017, which was written for TensorFlow 1. Here
# everything runs on npbn, an engine in plain NumPy in which nothing is
# hidden.
#
# 1. What batch normalization is
# 2. What it is good for
# 3. How it gets into a network
# 4. Networks with and without it, side by side
# 5. What goes wrong in inference
# 6. Three ways to write it
# 7. Writing it by hand: four exercises
# 8. Other kinds of networks
#
# All of it takes less than a minute. The networks learn from 5,000
# digits of MNIST which npbn carries, not from all 70,000, so that nobody
# has to wait; what the lesson reports for the whole of MNIST stands
# beside what you see.

# %% [markdown]
# ## What batch normalization is
#
# A network learns better from inputs that are centred at 0 and equally
# spread. What holds for the first layer holds for all the others, since
# each of them has inputs, too: the outputs of the layer before it. Sergey
# Ioffe and Christian Szegedy proposed in
# [2015](https://arxiv.org/abs/1502.03167) to normalize these as well,
# anew in every step of training, with the mean and the variance of the
# *batch* that is being learnt from. Hence the name.
#
# Let $x_1, \dots, x_m$ be the values of one feature (what one unit
# computes, before its activation) in the $m$ examples of a batch. Then
#
# $$\mu = \frac{1}{m} \sum_{i=1}^{m} x_i
# \qquad\text{(the batch's mean)}$$
#
# $$\sigma^2 = \frac{1}{m} \sum_{i=1}^{m} (x_i - \mu)^2
# \qquad\text{(its variance)}$$
#
# $$\hat{x}_i = \frac{x_i - \mu}{\sqrt{\sigma^2 + \varepsilon}}
# \qquad\text{(normalized)}$$
#
# $$y_i = \gamma \, \hat{x}_i + \beta
# \qquad\text{(scaled and shifted)}$$
#
# $\varepsilon$ is a small constant, 0.001 here, which keeps the root away
# from 0. The last line gives back what the line before it took: $\gamma$
# and $\beta$ are learnt like weights, one pair for each feature, so the
# network may choose any mean and any spread, if these serve it better
# than 0 and 1.
#
# Every feature has its own $\mu$, $\sigma^2$, $\gamma$ and $\beta$; the
# examples of the batch share them.

# %% [markdown]
# ### Why should it help?
#
# - *Scale.* The output does not change when the weights before it are
#   multiplied by 10. Weights that were drawn far too large or too small
#   do less harm, and so does a step of gradient descent that was too
#   long.
# - *Activations.* A sigmoid is flat except around 0, and a ReLU that
#   is below 0 for every example hands no gradient back. Normalized
#   inputs lie where activations have a slope.
# - *The surface.* The authors wrote of *internal covariate shift*: each
#   layer aims at inputs that move while the layers before it learn.
#   Later work (Santurkar and others, 2018) found that this is not what
#   makes the difference; the loss becomes smoother, so that a gradient
#   stays good for a longer step.
#
# You will see the first two below.

# %% [markdown]
# ## What it is good for
#
# The lesson promises seven things:
#
# 1. **Faster training.** A step takes longer, as there is more to
#    compute, but far fewer steps are needed.
# 2. **Higher learning rates.** Where plain gradient descent would run
#    away, it goes on learning.
# 3. **Easier initial weights.** It matters less how they are drawn.
# 4. **More activation functions.** Even a sigmoid works in a deep
#    network, and fewer ReLUs die.
# 5. **Deeper networks.** This follows from the first four.
# 6. **Some regularization.** An example's output depends on the other
#    examples in the batch, and this noise acts a little like dropout.
# 7. **Better results overall.**
#
# A promise can be measured. npbn's measurements fixed a rule for each of
# the seven and then ran all of the lesson's networks with five seeds
# each: five hold. The second did not (ReLU networks learnt at up to three
# times the rate, not ten times), nor did the sixth (with 1,000 images to
# learn from, the test accuracy was 0.008 *lower*).

# %% [markdown]
# ## How it gets into a network
#
# First, what this notebook needs.

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
# ### The data
#
# 28 × 28 pixels from 0 to 1, laid out as 784 numbers; 4,000 images to
# train on, 500 to validate with, and 500 to test with.

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
# ### The network
#
# `NeuralNet(initial_weights, activation_fn, use_batch_norm)` is the
# lesson's class. It gets its initial weights handed in, so that two
# networks can start from the very same ones; their shapes say how many
# layers there are. The lesson's has three hidden layers of 100 units.

# %%
weights = lesson.initial_weights(use_bad_weights=False, seed=0)
print([weight.shape for weight in weights])

with_norm = lesson.NeuralNet(weights, ReLU, use_batch_norm=True)
without = lesson.NeuralNet(weights, ReLU, use_batch_norm=False)
with_norm.network

# %% [markdown]
# Compare it with the other one:

# %%
without.network

# %% [markdown]
# Four things are worth a look.
#
# 1. A layer that is normalized **has no bias**. Whatever the bias adds,
#    subtracting the mean takes away again; $\beta$ does its work.
# 2. Batch norm comes **before the activation**, on the outputs of the
#    matrix product. (Behind it is possible as well; the paper and the
#    lesson have it before.)
# 3. The **output layer** is not normalized: its outputs are the scores
#    of the ten classes.
# 4. A layer must know whether it is **training**: then the batch's
#    statistics count. At any other time those of the *population* do, of
#    which more below.

# %% [markdown]
# ### One step of training
#
# In npbn the mode is an argument, `training=True`. In that mode a
# forward pass also moves the population's statistics. (In TensorFlow 1
# one had to run these updates oneself, and forgetting it was the most
# common mistake with batch norm. You will see below what it does.)

# %%
net = with_norm.network
optimizer = SGD(0.1)
batch_images, batch_labels = images[:60], labels[:60]

print("population mean before:", net.layers[1].population_mean[:3])
outputs = net.forward(batch_images, training=True)
loss, doutputs = functional.softmax_cross_entropy(outputs, batch_labels)
net.backward(doutputs)
optimizer.step(net)
print("population mean after: ", net.layers[1].population_mean[:3])
print(f"loss: {loss:.3f}")

# %% [markdown]
# `fit` does this for as many steps as you like, and `NeuralNet.train`
# calls `fit`.

# %% [markdown]
# ## Networks with and without it, side by side
#
# `train_and_test` makes two networks from the same initial weights, one
# without and one with batch norm, trains both with the same batches in
# the same order, tests both, and draws how their validation accuracies
# went. Its arguments are the lesson's: whether the initial weights are
# bad ones, the learning rate, the activation, how many batches to train
# with, and after how many the accuracy is sampled.
#
# The lesson trains with 50,000 batches in most of its runs. Here it is
# 1,000, and 4,000 in the first.

# %%
train_and_test = partial(
    lesson.train_and_test, data=digits, seed=0, progress=False
)
runs = {}

# %% [markdown]
# ### Good weights, learning rate 0.01, ReLU
#
# An easy task: small weights, of standard deviation 0.05, and a careful
# rate. Both networks should learn.

# %%
runs[1] = train_and_test(False, 0.01, ReLU, 4000, 100)

# %% [markdown]
# Both do, and in the end they are close. The one with batch norm got
# there sooner. (The lesson, after 50,000 batches: 0.973 without, 0.982
# with.)
#
# ### The same, for a short time
#
# A close look at the start, where most of the difference is.

# %%
runs[2] = train_and_test(False, 0.01, ReLU, 1000, 25)

# %% [markdown]
# How many steps does each of the two need to get 80 % right? The first
# run is long enough to tell.

# %%
for net in runs[1]:
    reached = np.array(net.training_accuracies) >= 0.8
    print(f"{net.name}: {100 * reached.argmax():,} steps")

# %% [markdown]
# ### Good weights, learning rate 0.01, sigmoid
#
# The same again with another activation. The slope of a sigmoid is 1/4
# at most, and three of them one behind the other leave little of a
# gradient.

# %%
runs[3] = train_and_test(False, 0.01, Sigmoid, 1000, 25)

# %% [markdown]
# Without batch norm the network is still guessing: one in ten is right.
# (In the lesson it needs most of the 50,000 batches to reach 0.834.)
#
# ### Good weights, learning rate 1, ReLU
#
# A hundred times the rate.

# %%
runs[4] = train_and_test(False, 1, ReLU, 1000, 25)

# %% [markdown]
# With batch norm this rate is just fine. Without, it is a matter of luck
# whether the network survives. Here is another draw of initial weights
# and batches:

# %%
runs[5] = train_and_test(False, 1, ReLU, 1000, 25, seed=1)

# %% [markdown]
# The lesson made this run twice as well, and both times the network
# without batch norm ended at one in ten.
#
# ### Good weights, learning rate 1, sigmoid

# %%
runs[7] = train_and_test(False, 1, Sigmoid, 1000, 25)

# %% [markdown]
# A sigmoid cannot run away as a ReLU can, so the high rate helps the
# network without batch norm, too. It begins late; with more steps it
# gets close. (The lesson: 0.978 and 0.984 after 50,000 batches.)
#
# ### Good weights, learning rate 2, ReLU

# %%
runs[8] = train_and_test(False, 2, ReLU, 1000, 25)

# %% [markdown]
# Too much without batch norm. With it the network hardly notices.
#
# ### Good weights, learning rate 2, sigmoid

# %%
runs[10] = train_and_test(False, 2, Sigmoid, 1000, 25)

# %% [markdown]
# With a sigmoid even the network without batch norm stands this rate.
# The other one is there in a quarter of the steps.
#
# ### Bad weights, learning rate 0.01, ReLU
#
# Now initial weights of standard deviation 5, a hundred times too large.
# Sums over 784 pixels become huge, and each layer makes them larger.

# %%
runs[11] = train_and_test(True, 0.01, ReLU, 1000, 25)

# %% [markdown]
# Without batch norm: nothing. With it the network learns, though slowly,
# as a step of size 0.01 is small for weights of size 5. (The lesson:
# 0.096 and 0.795.)
#
# ### Bad weights, learning rate 0.01, sigmoid

# %%
runs[12] = train_and_test(True, 0.01, Sigmoid, 1000, 25)

# %% [markdown]
# Without batch norm nearly all sigmoids are at 0 or at 1, where they are
# flat. Further down you will see a picture of it.
#
# ### Bad weights, learning rate 1, ReLU

# %%
runs[13] = train_and_test(True, 1, ReLU, 1000, 25)

# %% [markdown]
# A higher rate alone does not help here: many units die in the first
# steps. What is left of the network learns something.
#
# ### Bad weights, learning rate 1, sigmoid

# %%
runs[14] = train_and_test(True, 1, Sigmoid, 1000, 25)

# %% [markdown]
# The best of the bad: large steps for large weights, and an activation
# that cannot run away.
#
# ### Bad weights, learning rate 2, ReLU

# %%
runs[15] = train_and_test(True, 2, ReLU, 1000, 25)

# %% [markdown]
# Hardly anything, even with batch norm. (The lesson had more luck in one
# draw, 0.913 after 50,000 batches, and none in another, 0.099.)
#
# ### Bad weights, learning rate 2, sigmoid

# %%
runs[16] = train_and_test(True, 2, Sigmoid, 1000, 25)

# %% [markdown]
# ### All of them beside the lesson's
#
# Validation accuracies at the end. npbn knows what the lesson reports
# (`lesson.reported_runs()`), and the runs have its numbers; four that
# repeat another one, longer or from another draw, are left out. Here the
# networks saw 4,000 images 15 times (in run 1, 60 times); there it was
# most often 55,000 images 55 times, so the numbers on the right are the
# larger ones. What they have in common is who is ahead.

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
# ### It is no magic
#
# From bad weights and at a high rate even batch norm needs luck: ReLU
# units can die in the first few steps. The lesson shows two runs in
# which both networks end at one in ten. Here are five draws of the run
# with rate 1, with batch norm only:

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
# So: batch norm forgives much, but use sensible weights and rates all
# the same. And judge by several runs, not by one.
#
# ### A look inside
#
# What reaches the sigmoids, from bad weights, over the 1,000 steps of
# run 14? The line is the median of the inputs of a layer; the bands
# hold 68 % and 95 % of them. A sigmoid is flat beyond -4 and 4. (Away
# from 0 the axes are logarithmic.)

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
# ## What goes wrong in inference
#
# In training each batch is normalized with its own mean and variance. In
# inference, when the network is used, this would be wrong for two
# reasons. The answer for one image must not depend on which other images
# happen to be asked about. And of one image alone there is no variance:
# $\mu = x$, so $\hat{x} = 0$ and $y = \beta$, whatever the image shows.
#
# Therefore a layer keeps running averages of what it saw in training,
# the *population's* mean and variance, and in inference it uses these:
#
# $$\text{population} \leftarrow 0.99 \cdot \text{population} +
# 0.01 \cdot \text{batch}$$
#
# 0.99 is the *momentum*, the weight of the old value. (PyTorch turns it
# around: its momentum of 0.01 is the 0.99 of Keras, of the lesson and of
# npbn.)
#
# The lesson's demonstration trains a network and then asks about 200
# images one by one. First with the statistics of what is asked, which is
# the mistake:

# %%
net = lesson.batch_norm_test(True, data=digits, seed=0, progress=False)

# %% [markdown]
# Always the same digit. The accuracy on the *whole* test set does not
# tell, since 500 images together have good statistics. Now with the
# population's:

# %%
net = lesson.batch_norm_test(False, data=digits, seed=0, progress=False)

# %% [markdown]
# ### Statistics that never moved
#
# The other way to get it wrong: training goes well, but nothing ever
# updates the running averages, which stay at 0 and 1. A momentum of 1
# does just this, since it keeps the old value for ever.

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
print(f"with the test batch's statistics: {by_batch:.3f}")
by_population = net.accuracy(test_images, test_labels)
print(f"with the population's:            {by_population:.3f}")

# %% [markdown]
# The weights are fine, only the statistics are not. So they can be
# repaired without any training: `recompute_population` sends images
# through the network and sets the exact mean and variance of each layer.

# %%
net.recompute_population(digits.train[0])
repaired = net.accuracy(test_images, test_labels)
print(f"with the population's, recomputed: {repaired:.3f}")

# %% [markdown]
# ## Three ways to write it
#
# Batch norm in numbers, before it goes into a network: the outputs of
# the first matrix product for a batch of 60 images, three of 100
# features.

# %%
x = images[:60] @ weights[0][:, :3]
gamma = np.array([1.0, 0.5, 2.0], dtype=np.float32)
beta = np.array([0.0, 1.0, -1.0], dtype=np.float32)
y, cache = functional.batch_norm_forward(x, gamma, beta)

for name, array in (("x", x), ("x_hat", cache.x_hat), ("y", y)):
    print(f"{name:5} mean {array.mean(0).round(3)}")
    print(f"{'':5} std  {array.std(0).round(3)}")

# %% [markdown]
# $\hat{x}$ has mean 0 and standard deviation 1 (a little less, because
# of $\varepsilon$); $y$ has mean $\beta$ and standard deviation
# $\gamma$.
#
# ### 1. The layer
#
# `BatchNorm(100)` does everything: it normalizes, it keeps gamma, beta
# and the population's statistics, it knows its backward pass. This is
# what `NeuralNet` uses:
#
# ```python
# Dense(784, 100, use_bias=False), BatchNorm(100), ReLU()
# ```
#
# ### 2. The functions
#
# `npbn.functional` does the mathematics, and the layer around it only
# keeps the books: what is learnt (gamma and beta), what is not learnt
# but followed (the population's statistics), and which formula is for
# which mode. What the forward pass leaves in `self.cache`, `take_cache`
# hands to the backward pass, once.


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
# To see that it is the same, train two networks from the same weights
# with the same batches, and compare the loss of each step. (In float64,
# in which rounding is too small to matter.)


# %%
def losses_with(make_layer, steps=200):
    """The loss of each step, where make_layer makes batch norms."""
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
print(f"loss: {losses[0]:.3f} at first, {losses[-1]:.3f} at the end")
print(f"largest difference: {abs(losses - others).max():.0e}")

# %% [markdown]
# ### 3. The bare equations
#
# Nothing but NumPy. This one is yours.

# %% [markdown]
# ## Writing it by hand: four exercises
#
# In each exercise there is a function with blanks. Replace every
# `blank(...)` by an expression, run the cell, then run the check below
# it. Until then the check says that the exercise is not done.
#
# The solutions are in [another notebook](solutions.ipynb).


# %% tags=["exercises"]
def blank(what):
    """Stands where something of yours belongs."""
    raise NotImplementedError(what)


@contextmanager
def exercise(number):
    """Say so where a blank is left."""
    try:
        yield
    except NotImplementedError as missing:
        print(f"Exercise {number} is not done yet: {missing}")


rng = np.random.default_rng(0)
x = rng.normal(2.0, 3.0, size=(8, 4))
gamma = rng.uniform(0.5, 1.5, size=4)
beta = rng.normal(size=4)

# %% [markdown]
# ### What a check says
#
# `npbn.check_derivation(forward, backward, x, gamma, beta)` holds your
# backward pass against numeric derivatives, with a random gradient `dy`
# from above. With `like="batch_norm"` it also knows what the result
# should be, and where yours is wrong, it looks for the mistake. Here is
# a backward pass in which mean and variance are treated as constants:


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
# ### Exercise 1: forward, in training
#
# Write the four equations from the top of this notebook. `x` has the
# shape (m, D): m examples in rows, D features in columns. `mean` and
# `variance` have the shape (D,).
#
# What your backward pass will need (exercise 4) is returned beside `y`.


# %% tags=["exercise-1"]
def forward(x, gamma, beta, epsilon=1e-3):
    mean = blank("mean, of each column of x")
    variance = blank("variance, of each column of x")
    std = np.sqrt(variance + epsilon)
    x_hat = blank("x_hat, from x, mean and std")
    y = blank("y, from x_hat, gamma and beta")
    return y, (x_hat, std, gamma, mean, variance)


# %% [markdown]
# This check is about `y`, so npbn's own backward pass is put beside it.
# Mind what is said of `y`: gradients that "belong to another forward
# pass" come right with it.


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
# ### Exercise 2: running averages
#
# One step of a running average, of the mean or of the variance. The
# momentum is the weight of the old value.


# %% tags=["exercise-2"]
def update(population, batch, momentum=0.99):
    return blank("from population, batch and momentum")


# %% [markdown]
# The check follows a `BatchNorm` over 100 batches.

# %%
with exercise(2):
    layer = BatchNorm(4, dtype=np.float64)
    mean, variance = np.zeros(4), np.ones(4)
    for _ in range(100):
        layer.forward(rng.normal(2.0, 3.0, (8, 4)), training=True)
        mean = update(mean, layer.batch_mean)
        variance = update(variance, layer.batch_variance)
    print("mean, yours:     ", mean.round(3))
    print("mean, npbn's:    ", layer.population_mean.round(3))
    print("variance, yours: ", variance.round(3))
    print("variance, npbn's:", layer.population_variance.round(3))
    right = np.allclose(mean, layer.population_mean)
    right &= np.allclose(variance, layer.population_variance)
    print("It is right." if right else "It is not right yet.")

# %% [markdown]
# If yours is far too close to the batch's statistics from the start,
# then the momentum is on the wrong one of the two.
#
# ### Exercise 3: inference
#
# The same normalization with given statistics, those of the population.
# No mean and no variance is taken of `x`.


# %% tags=["exercise-3"]
def inference(x, gamma, beta, mean, variance, epsilon=1e-3):
    return blank("y, from all the arguments")


# %% [markdown]
# Here mean and variance are constants for the backward pass, and npbn's
# own is used again.


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
# ### Exercise 4: the backward pass
#
# Given `dy`, the gradient of the loss by each value of `y`, find the
# gradients by `x`, `gamma` and `beta`. The check needs your forward pass
# of exercise 1 as well.
#
# - `dbeta` and `dgamma` are short: each value of $\beta$ and $\gamma$
#   acts on a whole column of `y`, so their gradients are sums over the
#   column.
# - `dx` is the hard one. $x_i$ acts on the loss in three ways: by
#   itself, through the mean, and through the variance. These two belong
#   to the batch, so each $x_i$ has a share in *every* row of `y`.
#
# If you get stuck, [the backward pass, drawn](backward_pass_drawn.ipynb)
# shows the way from node to node, and the result as a projection.


# %% tags=["exercise-4"]
def backward(dy, cache):
    x_hat, std, gamma, _, _ = cache
    m = len(dy)
    dbeta = blank("dbeta, (D,)")
    dgamma = blank("dgamma, (D,)")
    dx = blank("dx, (m, D)")
    return dx, dgamma, dbeta


# %%
with exercise(4):
    report = npbn.check_derivation(
        forward, backward, x, gamma, beta, like="batch_norm"
    )
    display(report)

# %% [markdown]
# ### All together
#
# Your four functions make a layer, and the layer makes a network that
# learns. Its losses should be those of the two networks above, but for
# rounding: a difference of 1e-12 or less.


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


with exercise("1, 2, 3 or 4"):
    yours = losses_with(ByHand)
    print(f"largest difference: {abs(losses - yours).max():.0e}")

# %% [markdown]
# ## Other kinds of networks
#
# ### Convolutions
#
# A kernel of a convolution slides over the whole image, and all the
# values that it computes are one feature. So there is one mean and one
# variance for each *channel*, taken over the images, the rows and the
# columns. In npbn the channels are the last axis, and `BatchNorm` takes
# the statistics over all the others:

# %%
feature_maps = rng.normal(size=(60, 14, 14, 16)).astype(np.float32)
layer = BatchNorm(16)
layer.forward(feature_maps, training=True)
difference = layer.batch_mean - feature_maps.mean((0, 1, 2))
print(f"means: {layer.batch_mean.shape}")
print(f"largest difference: {abs(difference).max():.0e}")

# %% [markdown]
# Go on with [convolutional batch norm](convolutional_batch_norm.ipynb).
#
# ### Recurrent networks
#
# A recurrent network uses one layer many times, once for each step of a
# sequence, and what reaches the layer at the first step is something
# else than at the last. So each step has statistics of its own (Cooijmans
# and others, [2016](https://arxiv.org/abs/1603.09025)). Go on with
# [recurrent batch norm](recurrent_batch_norm.ipynb).
#
# ### More
#
# - [What one training step does](one_training_step.ipynb): every call of
#   NumPy, printed.
# - [Your own data, your own layer](own_data_own_layer.ipynb).
# - [The backward pass, drawn](backward_pass_drawn.ipynb).
