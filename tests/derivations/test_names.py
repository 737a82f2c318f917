"""check_derivation on the corpus: all that is wrong is found, most is named, nothing wrongly.

The derivations were written without a look at the table of known mistakes. Which of its keys says
what the corpus says of a derivation was judged by reading both, sentence by sentence.
"""

from collections import Counter

import numpy as np
import pytest

from derivations import derivations
from npbn import check_derivation

CORPUS = derivations()
WRONG = [each for each in CORPUS if each.truth]
RIGHT = [each for each in CORPUS if not each.truth]

# Each wrong result's keys, where it is named rightly.
NAMES = {
    # batch_norm
    "mean_detached": {"dx": ("no mean term",)},
    "variance_detached": {"dx": ("no variance term",)},
    "half_of_the_power_lost": {"dx": ("root without 1/2",)},
    "power_minus_half_kept": {"dx": ("exponent -1/2",)},
    "two_of_the_square_forgotten": {"dx": ("square without 2",)},
    "variance_not_divided_by_m": {"dx": ("a sum in the variance term",)},
    "sum_in_place_of_the_mean": {"dx": ("a sum in the mean term",)},
    "variance_term_added": {"dx": ("variance term's sign",)},
    "simplified_without_dgamma": {"dx": ("no dgamma in the variance term",)},
    "backward_means_over_features": {"dx": ("means over the features",)},
    "square_batch_broadcasts": {"dx": ("the rows' means along the columns in the mean term",)},
    "gamma_forgotten": {"dx": ("no gamma",)},
    "gamma_twice": {"dx": ("gamma twice",)},
    "std_forgotten": {"dx": ("no std",)},
    "divided_by_the_variance": {"dx": ("variance for std",)},
    "gamma_missing_in_one_term": {"dx": ("no gamma in the variance term",)},
    "epsilon_forgotten_in_backward": {"dx": ("no epsilon in the factor",)},
    "dgamma_with_x": {"dgamma": ("dgamma of x",)},
    "dgamma_with_y": {"dgamma": ("dgamma of y",)},
    "dbeta_averaged": {"dbeta": ("dbeta is a mean",)},
    "dgamma_and_dbeta_swapped": {"dgamma": ("dgamma is dbeta",), "dbeta": ("dbeta is dgamma",)},
    "gradients_keep_a_dimension": {
        "dgamma": ("dgamma has other axes",),
        "dbeta": ("dbeta has other axes",),
    },
    "loop_overwrites": {"dgamma": ("dgamma of the last example",)},
    "dx_transposed": {"dx": ("dx is transposed",)},
    "epsilon_outside_the_root": {"y": ("y: epsilon outside the root",)},
    "sample_variance": {"y": ("y: m - 1",), "dx": ("of the right y",)},
    "sample_variance_all_through": {"y": ("y: m - 1",)},
    "rows_normalized": {"y": ("y: over the features",)},
    "running_averages_in_training": {
        "y": ("y: a running average, momentum 0.9, from 1",),
        "dx": ("of the right y",),
    },
    "first_call_kept": {
        "dx": ("an earlier batch's x_hat and std",),
        "dgamma": ("dgamma of an earlier batch's x_hat",),
    },
    "gradients_never_zeroed": {
        "dgamma": ("another one in a second call",),
        "dbeta": ("another one in a second call",),
    },
    "x_hat_overwritten_by_y": {"dx": ("y for x_hat",), "dgamma": ("dgamma of y",)},
    "dy_scaled_in_place": {
        "dgamma": ("dgamma of y - beta",),
        "dbeta": ("dbeta with gamma",),
        "dy": ("dy is written into",),
    },
    "dx_written_into_dy": {"dy": ("dy is written into",)},
    "x_centred_in_place": {
        "dx": ("centred twice",),
        "dgamma": ("dgamma centred twice",),
        "x": ("x is written into",),
    },
    "mean_and_variance_detached": {"dx": ("statistics are constants",)},
    "mean_term_added_and_dbeta_averaged": {
        "dx": ("mean term's sign",),
        "dbeta": ("dbeta is a mean",),
    },
    "sample_variance_and_dgamma_with_x": {"y": ("y: m - 1",), "dgamma": ("dgamma of x",)},
    "gamma_and_the_two_of_the_square_forgotten": {"dx": ("square without 2", "no gamma")},
    "epsilon_outside_and_gradients_swapped": {
        "y": ("y: epsilon outside the root",),
        "dgamma": ("dgamma is dbeta",),
        "dbeta": ("dbeta is dgamma",),
    },
    # dense
    "weight_not_transposed": {"dx": ("no transpose in dx",)},
    "dweight_transposed": {"dweight": ("dweight is transposed",)},
    "dweight_averaged": {"dweight": ("dweight is a mean",)},
    "dbias_averaged": {"dbias": ("dbias is a mean",)},
    "dbias_over_the_wrong_axis": {"dbias": ("dbias over the wrong axis",)},
    "bias_forgotten": {"y": ("y: no bias",), "dbias": ("of the right y",)},
    "descent_in_the_gradient": {"dweight": ("dweight's sign",)},
    "weight_decay_added": {"dweight": ("dweight: weight is added",)},
    "everything_averaged_in_place": {
        "dx": ("dx is a mean",),
        "dweight": ("dweight is a mean",),
        "dbias": ("dbias is a mean",),
        "dy": ("dy is written into",),
    },
    "loop_overwrites_dweight": {"dweight": ("dweight of the last example",)},
    # softmax_cross_entropy
    "not_divided_by_the_rows": {"dlogits": ("no 1/N",)},
    "target_minus_probability": {"dlogits": ("dlogits's sign",)},
    "softmax_over_the_rows": {
        "loss": ("loss: softmax over the batch",),
        "dlogits": ("softmax over the batch",),
    },
    "dloss_left_out": {"dlogits": ("without dloss",)},
    "stops_at_the_probabilities": {"dlogits": ("the logarithm's alone",)},
    "softmax_like_a_sigmoid": {"dlogits": ("only at the labels",)},
    "softmax_over_everything": {
        "loss": ("loss: softmax over everything",),
        "dlogits": ("softmax over everything",),
    },
    "mean_over_the_classes_too": {"loss": ("loss: a mean over the classes, too",)},
    "logits_shifted_in_place": {"logits": ("logits is written into",)},
    "labels_as_columns_of_every_row": {"dlogits": ("the labels' columns in every row",)},
    # layer_norm
    "backward_means_over_the_batch": {"dx": ("means over the batch",)},
    "gamma_taken_out": {"dx": ("gamma at the end",)},
    "dgamma_over_the_features": {"dgamma": ("dgamma over the features",)},
    "layer_dgamma_with_x": {"dgamma": ("dgamma of x",)},
    "layer_mean_detached": {"dx": ("no mean term",)},
    "layer_sample_variance": {"y": ("y: m - 1",), "dx": ("of the right y",)},
    "layer_epsilon_outside_the_root": {"y": ("y: epsilon outside the root",)},
    "divided_by_the_rows": {"dx": ("rows for m",)},
    "never_summed": {"dgamma": ("dgamma is not summed",), "dbeta": ("dbeta is not summed",)},
    "mean_never_subtracted": {"y": ("y: no mean",), "dx": ("of the right y",)},
    # conv2d
    "kernel_flipped": {"y": ("y: the kernel is turned around",)},
    "kernel_not_flipped_in_backward": {"dx": ("the kernel is not turned in dx",)},
    "windows_overwrite_dx": {"dx": ("windows overwrite one another in dx",)},
    "dbias_keeps_an_axis": {"dbias": ("dbias is not summed",)},
    "kernel_gradient_averaged": {"dweight": ("dweight is a mean over the images",)},
    "kernel_gradient_flipped": {"dweight": ("dweight is turned around",)},
    "bias_at_every_place": {
        "y": ("y: the bias at every place of the kernel",),
        "dbias": ("of the right y",),
    },
    "kernel_axes_exchanged": {"dx": ("rows and columns of the kernel in dx",)},
    "padding_not_cut_off": {"dx": ("the padding is not cut off in dx",)},
    "columns_in_another_order": {"y": ("y: windows by channels, the weight by places",)},
}


def checked(each, seed=0):
    forward, backward = each.functions()
    arrays = each.arrays(np.random.default_rng(seed))
    return check_derivation(forward, backward, *arrays, like=each.like, **each.options)


def is_named_wrongly(report, each):
    """Whether anything has a name that is not its own; to have none is not wrong."""
    right = NAMES[each.name]
    return any(keys and keys != right.get(name) for name, keys in report.mistakes.items())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("each", RIGHT, ids=lambda each: each.name)
def test_a_right_derivation_passes(each, seed):
    report = checked(each, seed)
    assert report, report
    assert report.mistakes == {}


@pytest.mark.parametrize("each", WRONG, ids=lambda each: each.name)
def test_a_wrong_derivation_is_found_and_not_named_wrongly(each):
    report = checked(each)
    assert not report
    assert set(report.mistakes) == each.wrong | each.overwritten
    assert not is_named_wrongly(report, each), report


def test_most_are_named_rightly():
    named = Counter(each.like for each in WRONG if checked(each).mistakes == NAMES[each.name])
    wrong = Counter(each.like for each in WRONG)
    assert wrong.pop("batch_norm") == 40
    assert named.pop("batch_norm") >= 32
    for operation, count in wrong.items():
        assert count == 10
        assert named[operation] >= 7, operation


@pytest.mark.parametrize("each", RIGHT + WRONG, ids=lambda each: each.name)
def test_without_an_operation_a_wrong_gradient_is_found_as_well(each):
    forward, backward = each.functions()
    report = check_derivation(forward, backward, *each.arrays(np.random.default_rng(0)))
    # Nothing is known of y.
    assert len(report.errors) == len(each.operation.gradients)
    gradients = each.wrong - {each.operation.result}
    assert bool(report) is not bool(gradients | each.overwritten), report
