"""What PyTorch makes of the sequences of an operation, and what tests of all of these share."""

import numpy as np
import pytest


def upstream(y, seed=1):
    return np.random.default_rng(seed).standard_normal(y.shape).astype(y.dtype)


def some_lengths(examples, steps, seed=2):
    """A length for each sequence, 1 at least, one of them whole."""
    lengths = np.random.default_rng(seed).integers(1, steps + 1, examples)
    lengths[0] = steps
    return lengths


def mask_of(lengths, steps):
    return np.arange(steps) < np.asarray(lengths)[:, np.newaxis]


def by_pytorch(kind, inputs, dy, lengths=None):
    """y and the gradients dx, dinput_weight, drecurrent_weight, dbias of torch.nn's layer.

    kind: "RNN" or "LSTM". lengths: of packed sequences, whose y is 0 behind their ends.
    """
    torch = pytest.importorskip("torch")
    x = torch.tensor(inputs["x"], requires_grad=True)
    weights = inputs["input_weight"], inputs["recurrent_weight"]
    units = len(weights[1])
    layer = getattr(torch.nn, kind)(x.shape[2], units, batch_first=True, dtype=x.dtype)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(torch.tensor(weights[0].T))
        layer.weight_hh_l0.copy_(torch.tensor(weights[1].T))
        layer.bias_ih_l0.copy_(torch.tensor(inputs["bias"]))
        layer.bias_hh_l0.zero_()
    given = x
    if lengths is not None:
        given = torch.nn.utils.rnn.pack_padded_sequence(
            x, torch.tensor(lengths), batch_first=True, enforce_sorted=False
        )
    y, last = layer(given)
    if lengths is not None:
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True)
    if inputs.get("last_only"):
        y = (last[0] if kind == "LSTM" else last)[0]
    y.backward(torch.tensor(dy))
    gradients = (
        x.grad,
        layer.weight_ih_l0.grad.T,
        layer.weight_hh_l0.grad.T,
        layer.bias_ih_l0.grad,
    )
    return [each.detach().numpy() for each in (y, *gradients)]


def assert_near(found, expected, dtype):
    """Within some roundings of the largest value; PyTorch rounds as we do."""
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == dtype
        assert one.shape == other.shape
        assert abs(one - other).max() <= 200 * np.finfo(dtype).eps * max(abs(other).max(), 0.1)
