"""The loudest warning about batch normalization: a network whose population statistics never moved.

It trains well, since training uses the statistics of each batch. It fails at inference, which uses
those of the population, and these are still the 0 and 1 that they started from. The weights are
fine: recompute_population sets the statistics right from the training images, and nothing else.
"""

from npbn import SGD, BatchNorm, Dense, Sequential, Sigmoid, datasets, fit, lesson

data = datasets.load_mnist_5k()

layers = []
*hidden, last = lesson.initial_weights(use_bad_weights=False, seed=0)
for weight in hidden:
    in_features, out_features = weight.shape
    layers += [
        Dense(in_features, out_features, use_bias=False, weight=weight),
        # momentum=1 keeps the old statistics for ever: this is the update, forgotten.
        BatchNorm(out_features, momentum=1.0),
        Sigmoid(),
    ]
network = Sequential([*layers, Dense(100, 10, weight=last)])

history = fit(network, data.train, optimizer=SGD(0.1), steps=1000)
print(f"loss in training: {history.losses[0]:.2f} at first, {history.losses[-1]:.2f} at the end")

as_trained = network.accuracy(*data.test, statistics="batch")
print(f"test accuracy with the statistics of the test batch:  {as_trained:.3f}")

broken = network.accuracy(*data.test)
print(f"test accuracy with the population's, never updated:   {broken:.3f}")

network.recompute_population(data.train[0])
repaired = network.accuracy(*data.test)
print(f"test accuracy with the population's, recomputed:      {repaired:.3f}")
