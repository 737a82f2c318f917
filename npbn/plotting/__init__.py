"""Figures, built without pyplot: no window, no global state. `figure.savefig(path)` keeps one."""

from npbn.plotting.backward_pass import (
    Step,
    batch_norm_graph,
    batch_norm_projection,
    batch_norm_steps,
)
from npbn.plotting.curves import history, training_accuracies
from npbn.plotting.distributions import (
    PERCENTILES,
    ActivationRecord,
    activation_bands,
    activation_histograms,
)
from npbn.plotting.figures import COLOURS
from npbn.plotting.pictures import feature_maps, filters

__all__ = [
    "COLOURS",
    "PERCENTILES",
    "ActivationRecord",
    "Step",
    "activation_bands",
    "activation_histograms",
    "batch_norm_graph",
    "batch_norm_projection",
    "batch_norm_steps",
    "feature_maps",
    "filters",
    "history",
    "training_accuracies",
]
