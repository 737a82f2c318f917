"""What batch normalization does to the inputs of each activation, over training.

The lesson's two networks start from the same bad weights, of standard deviation 5. Beyond -4 and 4
a sigmoid is flat, its slope below 0.02, and hands hardly any gradient back. Without batch norm nine
in ten of its inputs lie there, and stay there. With it they begin around 0, where the sigmoid is
steep, and go on from there as gamma and beta learn. Takes some seconds.
"""

from npbn import SGD, Sigmoid, datasets, fit, lesson, plotting

digits = datasets.load_mnist_5k()
weights = lesson.initial_weights(use_bad_weights=True, seed=0)

records = {}
for use_batch_norm in (False, True):
    net = lesson.NeuralNet(weights, Sigmoid, use_batch_norm)
    record = records[net.name] = plotting.ActivationRecord(digits.validation[0])
    record(net.network)  # before the first step
    fit(
        net.network,
        digits.train,
        optimizer=SGD(1.0),
        steps=1000,
        sample_every=10,
        callback=record,
    )
    print(f"{net.name}: test accuracy {net.network.accuracy(*digits.test):.3f}")
    print(f"{'95 % of the inputs of':>25}  {'before':^15}  {'after 1,000 steps':^17}")
    for layer, *samples in zip(record.layers, *record.percentiles[[0, -1]], strict=True):
        before, after = (f"{low:6.1f} to {high:5.1f}" for low, *_, high in samples)
        print(f"{layer:>25}  {before}  {after:^17}")

plotting.activation_bands(records).savefig("activations.png", dpi=100)
print("All samples: activations.png")
