"""Whether what a file holds is this network, but for settings that training alone looks at."""

import inspect
import re
from collections.abc import Iterable, Sequence
from itertools import zip_longest

from npbn.layers.layer import Layer
from npbn.layers.readers import within

# The innermost calls in a layer's text. Without \b a long word takes quadratic time.
_CALL = re.compile(r"\b(\w+)\(([^()]*)\)")


def differences(held: Sequence[str], layers: Iterable[Layer]) -> tuple[list[str], list[str]]:
    """In what the layers differ from those that are held, as text.

    Two lists: differences in what inference computes, and those in settings of training alone.
    """
    layers = list(layers)
    kinds = {type(each) for each in within(layers) if each._training_only}
    arguments = {each.__name__: _arguments(each) for each in kinds}

    def in_inference(text: str) -> str:
        def less(call: re.Match[str]) -> str:
            if call[1] not in arguments:
                return call[0]
            names, training_only = arguments[call[1]]
            kept = []
            for place, text in enumerate(call[2].split(", ")):
                name = text.partition("=")[0] if "=" in text else names.get(place)
                if name not in training_only:
                    kept.append(text)
            return f"{call[1]}({', '.join(kept)})"

        return _CALL.sub(less, text)

    computed, trained = list[str](), list[str]()
    for place, (theirs, own) in enumerate(zip_longest(held, map(repr, layers))):
        if theirs != own:
            same = theirs and own and in_inference(theirs) == in_inference(own)
            told = f"layer {place} is {_shown(theirs)} there, {_shown(own)} here"
            (trained if same else computed).append(told)
    return computed, trained


def _arguments(kind: type[Layer]) -> tuple[dict[int, str], tuple[str, ...]]:
    """The names of its arguments by place, and those that are settings of training alone."""
    return dict(enumerate(inspect.signature(kind).parameters)), kind._training_only


def _shown(text: str | None) -> str:
    if text is None:
        return "missing"
    return f"{text:.80}" if text.isprintable() else f"{text!r:.80}"
