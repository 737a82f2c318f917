# %% [markdown]
# # Convolutional batch norm
#
# A convolution slides one kernel over the whole image. All that this
# kernel computes, in every image and at every place, is *one* feature: a
# channel. So batch norm takes one mean and one variance per channel, over
# the $N$ images, $H$ rows and $W$ columns:
#
# $$\mu_c = \frac{1}{N H W} \sum_{n,h,w} x_{nhwc}$$
#
# $$\sigma_c^2 = \frac{1}{N H W} \sum_{n,h,w} (x_{nhwc} - \mu_c)^2$$
#
# $$y_{nhwc} = \gamma_c \, \frac{x_{nhwc} - \mu_c}
# {\sqrt{\sigma_c^2 + \varepsilon}} + \beta_c$$
#
# In npbn the channels are the last axis, so images are (N, H, W, C).

# %%
import matplotlib.pyplot as plt
import numpy as np

from npbn import SGD, BatchNorm, Conv2D, Dense, Flatten, MaxPool2D
from npbn import ReLU, Sequential, datasets, fit, plotting

digits = datasets.load_mnist_5k(flatten=False)
images, labels = digits.train
images.shape

# %% [markdown]
# ## One layer, by hand
#
# Eight feature maps of 60 images, normalized. A `BatchNorm` need not be
# told that these are images: it takes the statistics over all axes but
# the last.

# %%
x = Conv2D(1, 8, 3, rng=0).forward(images[:60])
x = x.astype(np.float64)
layer = BatchNorm(8, dtype=np.float64)
y = layer.forward(x, training=True)

mean = x.mean((0, 1, 2))
variance = x.var((0, 1, 2))
x_hat = (x - mean) / np.sqrt(variance + 1e-3)

print("x:", x.shape, " mean:", mean.shape)
print(f"largest difference: {abs(y - x_hat).max():.0e}")

# %% [markdown]
# ## Two mistakes
#
# Two things go wrong when one changes code for dense layers:
#
# - The mean over axis 0 alone has the shape (H, W, C): one mean for each
#   *pixel* of each channel. It runs, and it destroys what a convolution
#   is about, since the same stroke now looks different at each place.
# - With `keepdims=True` the mean has the shape (1, 1, 1, C). It broadcasts
#   against `x` as it should, but it does not fit running averages of the
#   shape (C,) any more.

# %%
per_pixel = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-3)

pictures = {
    "image": images[0, ..., 0],
    "feature map": x[0, ..., 0],
    "per channel: right": x_hat[0, ..., 0],
    "per pixel: wrong": per_pixel[0, ..., 0],
}
fig, axes = plt.subplots(1, 4, figsize=(8, 2.4))
for ax, (title, picture) in zip(axes, pictures.items(), strict=True):
    ax.imshow(picture, cmap="gray")
    ax.set_title(title, fontsize=10)
    ax.axis("off")
plt.show()

print("over axis 0 alone:", x.mean(0).shape)
print("with keepdims:    ", x.mean((0, 1, 2), keepdims=True).shape)

# %% [markdown]
# Normalized per channel the feature map is the same picture in other
# greys. Normalized per pixel it is another one: the border, where hardly
# any image has ink, becomes as loud as the stroke.
#
# ## Networks with and without it
#
# Three convolutions, each with pooling, from the usual initial weights
# and from weights a tenth as large.


# %%
def network(use_batch_norm, weight_size):
    rng = np.random.default_rng(0)
    layers, channels = [], 1
    for filters in (8, 16, 32):
        convolution = Conv2D(
            channels, filters, 3, use_bias=not use_batch_norm, rng=rng
        )
        convolution.weight *= np.float32(weight_size)
        layers.append(convolution)
        if use_batch_norm:
            layers.append(BatchNorm(filters, momentum=0.9))
        layers += [ReLU(), MaxPool2D(2)]
        channels = filters
    layers += [Flatten(), Dense(3 * 3 * channels, 10, rng=rng)]
    return Sequential(layers)


histories, networks = {}, {}
for weights, size in (("usual weights", 1.0), ("a tenth", 0.1)):
    for norm, use in (("with batch norm", True), ("without", False)):
        name = f"{weights}, {norm}"
        networks[name] = network(use, size)
        histories[name] = fit(
            networks[name],
            digits.train,
            digits.validation,
            optimizer=SGD(0.1),
            steps=200,
            sample_every=10,
            progress=False,
        )
plotting.training_accuracies(histories)

# %% [markdown]
# From the usual weights both learn, one as well as the other: these are
# chosen so that three layers keep the size of what goes through them.
# From smaller ones less and less comes through, and the network without
# batch norm does not begin to learn in this time. With it the size of the
# weights does not matter.

# %%
net = networks["usual weights, with batch norm"]
print(f"test accuracy: {net.accuracy(*digits.test):.3f}")
net

# %% [markdown]
# ## What it has learnt
#
# The eight kernels of the first layer (blue is negative, red positive),
# and what they make of a digit after batch norm.

# %%
plotting.filters(net.layers[0])

# %%
plotting.feature_maps(net, digits.test[0][0], layer=1)

# %% [markdown]
# ## Folded away
#
# In inference batch norm multiplies each channel by a constant and adds
# another one. A convolution can do this itself, with other weights and a
# bias, so for use the layer can be folded into the one before it:

# %%
folded = net.fold_batch_norm()
test_images = digits.test[0]
difference = abs(folded.forward(test_images) - net.forward(test_images))
print(len(net), "layers before,", len(folded), "after")
print(f"largest difference of an output: {difference.max():.0e}")
