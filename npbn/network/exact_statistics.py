"""Exact population statistics, layer by layer."""

from collections.abc import Iterator

from npbn._checks import Array
from npbn.layers.layer import Layer
from npbn.layers.plan import Mode, Plan
from npbn.layers.readers import runs_as_written, within
from npbn.network.inference import blocks_through, rows_at_a_time


def recompute_population(
    layers: tuple[Layer, ...], images: Array, batch_size: int, mask: Array | None
) -> None:
    """Set each layer's population statistics to those of images; all of them, or none."""
    for layer in layers:
        if runs_as_written(layer) and any(map(has_statistics, within([layer]))):
            raise ValueError(
                f"{layer._name}: has a BatchNorm inside, whose input is not known here: "
                "make it a plain Sequential, or set its statistics yourself"
            )
    rows = rows_at_a_time(layers, images, batch_size)
    if mask is not None:
        # One that does not go with the images is told here, by the layer that takes it.
        mode = Mode(False, "population", keeps=False, mask=mask[:rows])
        Plan(layers, images[:rows].shape, images.dtype, mode, is_network=True)
    measured = [(place, layer) for place, layer in enumerate(layers) if has_statistics(layer)]
    before = [{name: value.copy() for name, value in layer.state.items()} for _, layer in measured]
    try:
        for place, layer in measured:

            def inputs(place: int = place) -> Iterator[tuple[Array, Array | None]]:
                return blocks_through(layers[:place], images, rows, mask)

            try:
                layer.measure(inputs)
            except ValueError as error:
                text = f"images: {error} on the way to {layer._name}"
                raise ValueError(text) from None
    except BaseException:
        for (_, layer), old in zip(measured, before, strict=True):
            for name, value in old.items():
                layer.state[name][...] = value
        raise


def has_statistics(layer: Layer) -> bool:
    """Whether it has population statistics that can be measured, and are not to stay."""
    return type(layer).measure is not Layer.measure and layer._follows_batches
