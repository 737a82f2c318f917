"""Every operation as a student derives it, right and wrong: the table beside the reference.

Student(name) is a layer made of npbn.reference's own forward and backward pass of an operation. The
table lists what students get wrong in each: the name of a mistake -> what it makes of the gradients
(or of the forward pass). A mistake sees p, the parts of the equations under the names that they
have in npbn/reference; p.previous are those of an earlier batch.

Not among them is what changes nothing: that dmean lacks its second term, dvariance times the sum of
-2 (x - mean) / m, which is 0.
"""

from types import SimpleNamespace

import numpy as np

from npbn import Layer, reference

ROWS, FEATURES, EPSILON = 6, 3, 0.1
LABELS = np.array([0, 2, 1, 1, 0, 2])


def x(shape=(ROWS, FEATURES)):
    return np.random.default_rng(1).normal(1, 2, shape)


class Student(Layer):
    """A layer of one operation, as the table has it, with a mistake or without."""

    def __init__(self, operation, mistake=None, forward=None):
        self.parts, names, _, _ = OPERATIONS[operation]
        rng = np.random.default_rng(3)
        # A square weight, of whose transpose nobody can tell the shape.
        shapes = {name: (FEATURES, FEATURES) if name == "weight" else FEATURES for name in names}
        super().__init__({name: rng.uniform(0.5, 1.5, shape) for name, shape in shapes.items()})
        self.rng = np.random.default_rng(5)
        self.mistake, self.wrong_forward = mistake, forward

    def forward(self, x):
        own = {name: value.copy() for name, value in self.parameters.items()}
        p = self._cache = SimpleNamespace(x=x.copy(), rng=self.rng, **own)
        self.parts(p)
        p.previous = self.first = getattr(self, "first", p)
        return p.y if self.wrong_forward is None else self.wrong_forward(p)

    def backward(self, dy):
        p = self._take_cache()
        p.dy = dy
        p.backward(p)
        if self.mistake is not None:
            self.mistake(p)
        for name, gradient in self.gradients.items():
            gradient[...] = getattr(p, f"d{name}")
        return p.dx


# Batch normalization


def batch_norm(p):
    p.y, cache = reference.batch_norm_forward(p.x, p.gamma, p.beta, epsilon=EPSILON)
    p.axes, p.m = tuple(range(p.x.ndim - 1)), p.x.size // p.x.shape[-1]
    p.x_hat, p.mean, p.variance = cache.x_hat, cache.mean, cache.variance
    p.std, p.centred = np.sqrt(cache.variance + EPSILON), p.x - cache.mean

    def backward(p):
        p.dx, p.dgamma, p.dbeta = reference.batch_norm_backward(p.dy, cache)
        p.dx_hat = p.dy * p.gamma
        p.dvariance = (p.dx_hat * p.centred).sum(p.axes) * (-1 / 2) / p.std**3
        p.dmean = -p.dx_hat.sum(p.axes) / p.std

    p.backward = backward


def paper(p, dx_hat=None, std=None, centred=None, dvariance=None, dmean=None, m=None, m_mean=None):
    """dx as the paper puts it together, with some of its pieces replaced."""
    dx_hat = p.dx_hat if dx_hat is None else dx_hat
    std = p.std if std is None else std
    centred = p.centred if centred is None else centred
    dvariance = p.dvariance if dvariance is None else dvariance
    dmean = p.dmean if dmean is None else dmean
    m = p.m if m is None else m
    return dx_hat / std + dvariance * 2 * centred / m + dmean / (m if m_mean is None else m_mean)


def chain(p, std, centred=None, dx_hat=None):
    """dx where the whole chain has another std: its dvariance and dmean follow it."""
    centred = p.centred if centred is None else centred
    dx_hat = p.dx_hat if dx_hat is None else dx_hat
    dvariance = (dx_hat * centred).sum(p.axes) * (-1 / 2) / std**3
    return paper(
        p, std=std, centred=centred, dx_hat=dx_hat, dvariance=dvariance,
        dmean=-dx_hat.sum(p.axes) / std,
    )  # fmt: skip


def over_features(array):
    return array.sum(-1, keepdims=True)


def sets(**new):
    """A mistake that sets gradients to functions of p."""

    def mistake(p):
        values = {name: function(p) for name, function in new.items()}
        vars(p).update(values)

    return mistake


BATCH_NORM = {
    "the term of the mean is missing": sets(dx=lambda p: paper(p, dmean=0)),
    "the term of the variance is missing": sets(dx=lambda p: paper(p, dvariance=0)),
    "mean and variance are detached": sets(dx=lambda p: p.dx_hat / p.std),
    "only mean and variance are differentiated": sets(dx=lambda p: p.dx - p.dx_hat / p.std),
    "the mean's sign": sets(dx=lambda p: paper(p, dmean=-p.dmean)),
    "the variance's sign": sets(dx=lambda p: paper(p, dvariance=-p.dvariance)),
    "the sign of all": sets(dx=lambda p: -p.dx),
    "1/2 is missing in dvariance": sets(dx=lambda p: paper(p, dvariance=2 * p.dvariance)),
    "2 is missing in dx": sets(dx=lambda p: paper(p, dvariance=p.dvariance / 2)),
    "the exponent is -1/2, not -3/2": sets(dx=lambda p: paper(p, dvariance=p.dvariance * p.std**2)),
    "the exponent is -1, not -3/2": sets(dx=lambda p: paper(p, dvariance=p.dvariance * p.std)),
    "gamma is forgotten": sets(dx=lambda p: p.dx / p.gamma),
    "gamma is there twice": sets(dx=lambda p: p.dx * p.gamma),
    "gamma is forgotten in the statistics": sets(
        dx=lambda p: paper(p, dvariance=p.dvariance / p.gamma, dmean=p.dmean / p.gamma)
    ),
    "1/std is forgotten": sets(dx=lambda p: p.dx * p.std),
    "1/variance, not 1/std": sets(dx=lambda p: p.dx / p.std),
    "m - 1 in the variance": sets(dx=lambda p: paper(p, m=p.m - 1, m_mean=p.m)),
    "m - 1 in the mean": sets(dx=lambda p: paper(p, m_mean=p.m - 1)),
    "m - 1 in both": sets(dx=lambda p: paper(p, m=p.m - 1)),
    "no division by m": sets(dx=lambda p: paper(p, m=1)),
    "D for m": sets(dx=lambda p: paper(p, m=FEATURES)),
    "epsilon is forgotten": sets(dx=lambda p: chain(p, np.sqrt(p.variance))),
    "epsilon is outside the root": sets(dx=lambda p: chain(p, np.sqrt(p.variance) + EPSILON)),
    "the variance of m - 1 in std": sets(
        dx=lambda p: chain(p, np.sqrt(p.variance * p.m / (p.m - 1) + EPSILON))
    ),
    "x is not centred": sets(
        dx=lambda p: paper(
            p, centred=p.x, dvariance=(p.dx_hat * p.x).sum(p.axes) * (-1 / 2) / p.std**3
        )
    ),
    "x is not centred in dx": sets(dx=lambda p: paper(p, centred=p.x)),
    "dy for dx_hat": sets(dx=lambda p: chain(p, p.std, dx_hat=p.dy)),
    "sums over the features": sets(
        dx=lambda p: paper(
            p,
            dvariance=over_features(p.dx_hat * p.centred) * (-1 / 2) / p.std**3,
            dmean=-over_features(p.dx_hat) / p.std,
        )
    ),
    "means for sums": sets(dx=lambda p: paper(p, dvariance=p.dvariance / p.m, dmean=p.dmean / p.m)),
    "stale statistics": sets(dx=lambda p: chain(p, p.previous.std, p.x - p.previous.mean)),
    "stale std": sets(dx=lambda p: p.dx * p.std / p.previous.std),
    "dx is 0": sets(dx=lambda p: 0 * p.dx),
    "dx is dy": sets(dx=lambda p: p.dy),
    "dgamma is not normalized": sets(dgamma=lambda p: (p.dy * p.centred).sum(p.axes)),
    "dgamma of x": sets(dgamma=lambda p: (p.dy * p.x).sum(p.axes)),
    "dgamma of y": sets(dgamma=lambda p: (p.dy * p.y).sum(p.axes)),
    "dgamma with gamma": sets(dgamma=lambda p: p.dgamma * p.gamma),
    "dgamma is a mean": sets(dgamma=lambda p: p.dgamma / p.m),
    "dgamma's sign": sets(dgamma=lambda p: -p.dgamma),
    "dgamma is dbeta": sets(dgamma=lambda p: p.dbeta),
    "dgamma without epsilon": sets(dgamma=lambda p: p.dgamma * p.std / np.sqrt(p.variance)),
    "dgamma of stale statistics": sets(
        dgamma=lambda p: (p.dy * (p.x - p.previous.mean) / p.previous.std).sum(p.axes)
    ),
    "dbeta is a mean": sets(dbeta=lambda p: p.dbeta / p.m),
    "dbeta's sign": sets(dbeta=lambda p: -p.dbeta),
    "dbeta with gamma": sets(dbeta=lambda p: p.dbeta * p.gamma),
    "dbeta is dgamma": sets(dbeta=lambda p: p.dgamma),
    "dbeta is 0": sets(dbeta=lambda p: 0 * p.dbeta),
}
# The same in feature maps (N, H, W, C), where more can be wrong.
FEATURE_MAPS = {
    "N for m": sets(dx=lambda p: paper(p, m=len(p.x))),
    "sums over N alone": sets(
        dx=lambda p: paper(
            p,
            dvariance=(p.dx_hat * p.centred).sum(0) * (-1 / 2) / p.std**3,
            dmean=-p.dx_hat.sum(0) / p.std,
        )
    ),
    "dgamma of the first pixel": sets(dgamma=lambda p: (p.dy * p.x_hat).sum(0)[0, 0]),
    "dbeta of the first pixel": sets(dbeta=lambda p: p.dy.sum(0)[0, 0]),
    "dbeta of the first image": sets(dbeta=lambda p: p.dy[0].sum((0, 1))),
}
# A forward pass that is not the one that the (right) backward pass belongs to.
BATCH_NORM_FORWARDS = {
    "epsilon is outside the root": lambda p: (
        p.gamma * p.centred / (np.sqrt(p.variance) + EPSILON) + p.beta
    ),
    "no epsilon": lambda p: p.gamma * p.centred / np.sqrt(p.variance) + p.beta,
    "the variance over m - 1": lambda p: (
        p.gamma * p.centred / np.sqrt(p.variance * p.m / (p.m - 1) + EPSILON) + p.beta
    ),
    "the variance for the std": lambda p: p.gamma * p.centred / (p.variance + EPSILON) + p.beta,
    "beta is scaled": lambda p: p.gamma * (p.x_hat + p.beta),
    "no mean": lambda p: p.gamma * p.x / p.std + p.beta,
    "stale statistics": lambda p: p.gamma * (p.x - p.previous.mean) / p.previous.std + p.beta,
    "over the features": lambda p: (
        p.gamma * (p.x - p.x.mean(-1, keepdims=True)) / p.x.std(-1, keepdims=True) + p.beta
    ),
}


def batch_norm_inference(p):
    p.mean, p.variance = np.array([1.0, -1.0, 0.5]), np.array([2.0, 0.5, 3.0])
    p.std = np.sqrt(p.variance + EPSILON)
    statistics = (p.mean, p.variance)
    p.y = reference.batch_norm_inference(p.x, p.gamma, p.beta, *statistics, epsilon=EPSILON)

    def backward(p):
        p.dx, p.dgamma, p.dbeta = reference.batch_norm_inference_backward(
            p.dy, p.x, p.gamma, *statistics, epsilon=EPSILON
        )

    p.backward = backward


def as_in_training(p):
    statistics = SimpleNamespace(**vars(p))
    batch_norm(statistics)
    statistics.backward(statistics)
    return statistics


INFERENCE = {
    "the batch's dx": sets(dx=lambda p: as_in_training(p).dx),
    "the batch's std": sets(dx=lambda p: p.dx * p.std / np.sqrt(p.x.var(0) + EPSILON)),
    "gamma is forgotten": sets(dx=lambda p: p.dx / p.gamma),
    "1/std is forgotten": sets(dx=lambda p: p.dx * p.std),
    "1/variance, not 1/std": sets(dx=lambda p: p.dx / p.std),
    "epsilon is forgotten": sets(dx=lambda p: p.dx * p.std / np.sqrt(p.variance)),
    "epsilon is outside the root": sets(
        dx=lambda p: p.dx * p.std / (np.sqrt(p.variance) + EPSILON)
    ),
    "the mean is subtracted": sets(dx=lambda p: p.dx - p.dx.mean(0)),
    "dx's sign": sets(dx=lambda p: -p.dx),
    "dgamma of the batch": sets(dgamma=lambda p: as_in_training(p).dgamma),
    "dgamma is not centred": sets(dgamma=lambda p: (p.dy * p.x / p.std).sum(0)),
    "dgamma is not normalized": sets(dgamma=lambda p: (p.dy * (p.x - p.mean)).sum(0)),
    "dgamma is a mean": sets(dgamma=lambda p: p.dgamma / ROWS),
    "dgamma is 0": sets(dgamma=lambda p: 0 * p.dgamma),
    "dbeta is a mean": sets(dbeta=lambda p: p.dbeta / ROWS),
    "dbeta is normalized": sets(dbeta=lambda p: p.dbeta / p.std),
}


# The others


def dense(p):
    p.y, cache = reference.dense_forward(p.x, p.weight, p.bias)

    def backward(p):
        p.dx, p.dweight, p.dbias = reference.dense_backward(p.dy, cache)

    p.backward = backward


DENSE = {
    "no transpose in dx": sets(dx=lambda p: p.dy @ p.weight),
    "dweight is transposed": sets(dweight=lambda p: p.dweight.T),
    "dweight of y": sets(dweight=lambda p: p.y.T @ p.dy),
    "dweight is a mean": sets(dweight=lambda p: p.dweight / ROWS),
    "dweight of one example": sets(dweight=lambda p: np.outer(p.x[0], p.dy[0])),
    "dweight's sign": sets(dweight=lambda p: -p.dweight),
    "dbias is a mean": sets(dbias=lambda p: p.dbias / ROWS),
    "dbias of one example": sets(dbias=lambda p: p.dy[0]),
    "dbias is a sum over the outputs": sets(dbias=lambda p: p.dy.sum()),
    "dbias is forgotten": sets(dbias=lambda p: 0 * p.dbias),
    "dbias of x": sets(dbias=lambda p: p.x.sum(0)),
    "the bias is in dx": sets(dx=lambda p: p.dx + p.bias),
    "dx is a mean": sets(dx=lambda p: p.dx / ROWS),
    "dx of a stale weight": sets(dx=lambda p: p.dy @ p.previous.weight.T),
    "dx's sign": sets(dx=lambda p: -p.dx),
}


def activation(name, **options):
    def parts(p):
        p.y, cache = getattr(reference, f"{name}_forward")(p.x, **options)

        def backward(p):
            p.dx = getattr(reference, f"{name}_backward")(p.dy, cache)

        p.backward = backward

    return parts


RELU = {
    "the mask of dy": sets(dx=lambda p: np.maximum(p.dy, 0)),
    "no mask": sets(dx=lambda p: p.dy),
    "the mask for dx": sets(dx=lambda p: (p.x > 0).astype(float)),
    "the other half": sets(dx=lambda p: p.dy * (p.x < 0)),
    "times x": sets(dx=lambda p: p.dx * p.x),
    "-1 below 0": sets(dx=lambda p: p.dy * np.sign(p.x)),
    "the sign": sets(dx=lambda p: -p.dx),
}
LEAKY_RELU = {
    "0 below 0": sets(dx=lambda p: p.dy * (p.x > 0)),
    "the slope on both sides": sets(dx=lambda p: 0.3 * p.dy),
    "the slope above 0": sets(dx=lambda p: np.where(p.x > 0, 0.3, 1) * p.dy),
    "1 - slope": sets(dx=lambda p: np.where(p.x > 0, 1, 0.7) * p.dy),
    "the slope's sign": sets(dx=lambda p: np.where(p.x > 0, 1, -0.3) * p.dy),
    "1/slope": sets(dx=lambda p: np.where(p.x > 0, 1, 1 / 0.3) * p.dy),
    "the slope of dy's sign": sets(dx=lambda p: np.where(p.dy > 0, 1, 0.3) * p.dy),
}
SIGMOID = {
    "of x": sets(dx=lambda p: p.dy * p.x * (1 - p.x)),
    "y alone": sets(dx=lambda p: p.dy * p.y),
    "1 - y alone": sets(dx=lambda p: p.dy * (1 - p.y)),
    "1 - y^2, tanh's": sets(dx=lambda p: p.dy * (1 - p.y**2)),
    "y (1 + y)": sets(dx=lambda p: p.dy * p.y * (1 + p.y)),
    "y (y - 1)": sets(dx=lambda p: -p.dx),
    "of dy": sets(dx=lambda p: p.dy * (1 - p.dy)),
    "without dy": sets(dx=lambda p: p.y * (1 - p.y)),
}
TANH = {
    "of x": sets(dx=lambda p: p.dy * (1 - p.x**2)),
    "1 - y": sets(dx=lambda p: p.dy * (1 - p.y)),
    "1 + y^2": sets(dx=lambda p: p.dy * (1 + p.y**2)),
    "y (1 - y), the sigmoid's": sets(dx=lambda p: p.dy * p.y * (1 - p.y)),
    "(1 - y)^2": sets(dx=lambda p: p.dy * (1 - p.y) ** 2),
    "y^2 - 1": sets(dx=lambda p: -p.dx),
    "without dy": sets(dx=lambda p: 1 - p.y**2),
}


def dropout(p):
    p.y, p.factor = reference.dropout_forward(p.x, rate=0.4, rng=p.rng)

    def backward(p):
        p.dx = reference.dropout_backward(p.dy, p.factor)

    p.backward = backward


DROPOUT = {
    "no mask": sets(dx=lambda p: p.dy),
    "the scale everywhere": sets(dx=lambda p: p.dy / 0.6),
    "no scale": sets(dx=lambda p: p.dy * (p.factor > 0)),
    "scaled the wrong way": sets(dx=lambda p: p.dy * (p.factor > 0) * 0.6),
    "scaled twice": sets(dx=lambda p: p.dx / 0.6),
    "divided by the rate": sets(dx=lambda p: p.dy * (p.factor > 0) / 0.4),
    "the dropped ones": sets(dx=lambda p: p.dy * (p.factor == 0) / 0.6),
    "another mask": sets(dx=lambda p: p.dy * (p.rng.random(p.dy.shape) >= 0.4) / 0.6),
}


def loss(name, *arguments):
    """A loss as a layer: y is the loss, (1, 1), and dy what it is multiplied by later."""

    def parts(p):
        value, p.gradient = getattr(reference, name)(p.x, *arguments)
        p.y = np.full((1, 1), value)
        p.softmax = reference.softmax(p.x)
        p.one_hot = np.eye(FEATURES)[LABELS]

        def backward(p):
            p.dx = p.dy * p.gradient

        p.backward = backward

    return parts


TARGET = np.random.default_rng(8).normal(size=(ROWS, FEATURES))
CROSS_ENTROPY = {
    "no 1/N": sets(dx=lambda p: ROWS * p.dx),
    "1/C": sets(dx=lambda p: p.dx * ROWS / FEATURES),
    "1/(N C)": sets(dx=lambda p: p.dx / FEATURES),
    "1/(N - 1)": sets(dx=lambda p: p.dx * ROWS / (ROWS - 1)),
    "the one-hot labels are forgotten": sets(dx=lambda p: p.dy * p.softmax / ROWS),
    "only at the labels": sets(dx=lambda p: p.dx * p.one_hot),
    "not at the labels": sets(dx=lambda p: p.dx * (1 - p.one_hot)),
    "-1/p, the logarithm's alone": sets(dx=lambda p: -p.dy * p.one_hot / p.softmax / ROWS),
    "softmax over the batch": sets(
        dx=lambda p: p.dy * (reference.softmax(p.x.T).T - p.one_hot) / ROWS
    ),
    "the logits for softmax": sets(dx=lambda p: p.dy * (p.x - p.one_hot) / ROWS),
    "the sigmoid for softmax": sets(
        dx=lambda p: p.dy * (1 / (1 + np.exp(-p.x)) - p.one_hot) / ROWS
    ),
    "the derivative of softmax once more": sets(dx=lambda p: p.dx * p.softmax * (1 - p.softmax)),
    "the labels of the next row": sets(
        dx=lambda p: p.dy * (p.softmax - np.roll(p.one_hot, 1, 0)) / ROWS
    ),
    "the sign": sets(dx=lambda p: -p.dx),
    "without dy": sets(dx=lambda p: p.gradient),
}
SQUARED_ERROR = {
    "no 1/N": sets(dx=lambda p: ROWS * p.dx),
    "2, without the half": sets(dx=lambda p: 2 * p.dx),
    "1/2 left over": sets(dx=lambda p: p.dx / 2),
    "1/(N D)": sets(dx=lambda p: p.dx / FEATURES),
    "target - y": sets(dx=lambda p: -p.dx),
    "the target is forgotten": sets(dx=lambda p: p.dy * p.x / ROWS),
    "the absolute error": sets(dx=lambda p: np.abs(p.dx)),
    "the sign of the error": sets(dx=lambda p: p.dy * np.sign(p.x - TARGET) / ROWS),
    "squared": sets(dx=lambda p: p.dy * (p.x - TARGET) ** 2 / ROWS),
    "without dy": sets(dx=lambda p: p.gradient),
}

# name -> its parts, its parameters, its wrong backward passes, its wrong forward passes
OPERATIONS = {
    "batch_norm": (batch_norm, ("gamma", "beta"), BATCH_NORM, BATCH_NORM_FORWARDS),
    "batch_norm_inference": (batch_norm_inference, ("gamma", "beta"), INFERENCE, {}),
    "dense": (dense, ("weight", "bias"), DENSE, {}),
    "relu": (activation("relu"), (), RELU, {}),
    "leaky_relu": (activation("leaky_relu", slope=0.3), (), LEAKY_RELU, {}),
    "sigmoid": (activation("sigmoid"), (), SIGMOID, {}),
    "tanh": (activation("tanh"), (), TANH, {}),
    "dropout": (dropout, (), DROPOUT, {}),
    "softmax_cross_entropy": (loss("softmax_cross_entropy", LABELS), (), CROSS_ENTROPY, {}),
    "squared_error": (loss("squared_error", TARGET), (), SQUARED_ERROR, {}),
}
