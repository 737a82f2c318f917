"""A tape: a namespace that makes NumPy's calls, and writes them down as Python."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from npbn import _html
from npbn._checks import Array

# The width of a page, where comments begin, and the functions that write into their first argument.
WIDTH, COMMENT = 100, 64
_WRITING = ("np.copyto", "np.put")


def repeated(xp: Any, items: Iterable[Any]) -> Iterable[Any]:
    """The items of a loop, of which a tape writes the first round down, and how often it runs."""
    return items if xp is np else xp.repeated(items)


def outside(xp: Any, function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """A function that is not NumPy's, which a tape writes down as one call of that name."""
    return function if xp is np else xp.outside(function, name)


def named(xp: Any, **arrays: Array) -> None:
    """What a tape calls arrays that no attribute holds."""
    if xp is not np:
        xp.named(arrays)


# What a pass is given, where two names may stand for one array.
_BETWEEN = ("x", "y", "dy", "dx")


class Line(NamedTuple):
    """One call: as Python, what it made, and how often it was made."""

    source: str
    made: str
    times: int
    runs: bool  # whether the source can be run on the block's arrays

    def __str__(self) -> str:
        comment = f"# {self.made}" + (f", x {self.times}" if self.times > 1 else "")
        line = f"    {self.source:<{COMMENT}}  {comment}"
        return line if len(line) <= WIDTH else f"    {self.source}\n        {comment}"


class Block:
    """The calls of one layer's pass, or of another part of a step.

    Where `runs` is True, they can be made again on `arrays`::

        exec(block.source, {"np": numpy, **block.arrays})

    They cannot where there are loops, of which the first round is shown, random draws or readers'
    layers.

    Attributes
    ----------
    title : str
        What it is.
    lines : list of Line
        The calls.
    """

    def __init__(self, title: str, names: "_Names") -> None:
        self.title, self.lines, self._names = title, list[Line](), names

    @property
    def arrays(self) -> dict[str, Array]:
        """name -> array, copies of them as they were before the first line."""
        return self._names.arrays_before()

    @property
    def calls(self) -> int:
        """How many calls were made."""
        return sum(line.times for line in self.lines)

    @property
    def runs(self) -> bool:
        """Whether the lines can be run on `arrays`."""
        return all(line.runs for line in self.lines)

    @property
    def source(self) -> str:
        """The lines as Python."""
        return "\n".join(line.source for line in self.lines)

    def __repr__(self) -> str:
        return f"Block({self.title!r}, {self.calls} calls)"

    def __str__(self) -> str:
        title = self.title if len(self.title) <= WIDTH else f"{self.title[: WIDTH - 3]}..."
        return "\n".join([title, *map(str, self.lines)])

    def _repr_html_(self) -> str:
        return _html.block(self._as_html())

    def _as_html(self) -> _html.Markup:
        lines = _html.preformatted("\n".join(map(str, self.lines)))
        return _html.details(self.title, lines, is_open=True)


class Tape:
    """NumPy, with every call written down: xp.add(a, b, out=c) makes it, and is a line.

    print(tape) shows them, a block a pass, with the type and shape that each call makes. A name is
    what the operation at work calls an array; a view is an expression of the array it is a view of.

    Attributes
    ----------
    blocks : list of Block
    """

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._names = _Names({})

    def block(self, title: str, arrays: Mapping[str, Any]) -> None:
        """What follows is another part of the step, where these names hold."""
        self._names = _Names(arrays)
        self.blocks.append(Block(title, self._names))

    @property
    def calls(self) -> int:
        """How many calls were made."""
        return sum(block.calls for block in self.blocks)

    def repeated(self, items: Iterable[Any]) -> Iterator[Any]:
        """The items; the lines of the first are kept, the others counted."""
        block, start, count = self.blocks[-1], len(self.blocks[-1].lines), 0
        for item in items:
            if count == 0 and hasattr(item, "__dict__"):
                self._names.add(vars(item))
            before = len(block.lines)
            yield item
            if count:
                del block.lines[before:]
            count += 1
        if count > 1:
            block.lines[start:] = [
                line._replace(times=line.times * count, runs=False) for line in block.lines[start:]
            ]

    def named(self, arrays: Mapping[str, Array]) -> None:
        """Names for what follows in this block."""
        self._names.add(arrays)

    def outside(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """The function, whose call is a line that is not run again."""
        return self._recording(function, name, runs=False)

    def __getattr__(self, name: str) -> Any:
        function = getattr(np, name)
        return (
            self._recording(function, f"np.{name}", runs=True) if callable(function) else function
        )

    def _recording(self, function: Callable[..., Any], name: str, *, runs: bool) -> Any:
        def record(*args: Any, **options: Any) -> Any:
            names = self._names
            # copyto and put write into their first argument.
            target = options.get("out", args[0] if name in _WRITING else None)
            given = [
                names.of(each, is_written=place == 0 and name in _WRITING)
                for place, each in enumerate(args)
            ]
            given += [
                f"{key}={names.of(value, is_written=key == 'out')}"
                for key, value in options.items()
            ]
            source = f"{name}({', '.join(given)})"
            result = function(*args, **options)
            if target is None:
                target = result
                source = f"{names.new(name.rpartition('.')[2], result)} = {source}"
            made = f"{target.dtype} {target.shape}" if hasattr(target, "shape") else ""
            self.blocks[-1].lines.append(Line(source, made, 1, runs))
            return result

        return record

    def __repr__(self) -> str:
        return f"Tape({len(self.blocks)} blocks, {self.calls} calls)"

    def __str__(self) -> str:
        shown = (str(block) for block in self.blocks if block.lines)
        return "\n\n".join([*shown, f"{self.calls} calls"])

    def _repr_html_(self) -> str:
        shown = (block._as_html() for block in self.blocks if block.lines)
        return _html.block(*shown, _html.paragraph(f"{self.calls} calls"))


class _Names:
    """What the arrays of a block are called, and copies of them as they were before it."""

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        self._known: dict[str, Array] = {}
        self._written: set[int] = set()
        # Copies of the arrays that own the memory, by which one they are of.
        self._owners: dict[int, Array] = {}
        self._values: dict[int, tuple[str, Any]] = {}  # results, which are kept for their identity
        self.add(arrays)

    def add(self, arrays: Mapping[str, Any]) -> None:
        """More names."""
        for name, value in arrays.items():
            is_between = name in _BETWEEN
            if isinstance(value, np.ndarray) and (is_between or not self._same(value)):
                self._add(name.lstrip("_"), value)

    def _same(self, array: Array) -> list[str]:
        return [name for name, known in self._known.items() if _is_same(known, array)]

    def _add(self, name: str, array: Array) -> str:
        if name in self._known:
            name = next(each for k in range(2, 1000) if (each := f"{name}_{k}") not in self._known)
        self._known[name] = array
        owner = _owner(array)
        if id(owner) not in self._owners:
            self._owners[id(owner)] = owner.copy("K")
        return name

    def arrays_before(self) -> dict[str, Array]:
        """New arrays as they were before, which share memory where these do."""
        owners = {key: owner.copy("K") for key, owner in self._owners.items()}
        arrays = {}
        for name, array in self._known.items():
            owner = _owner(array)
            kept = owners[id(owner)]
            if owner.flags.forc:
                start, memory = _address(array) - _address(owner), kept.ravel("K")
                kept = np.ndarray(array.shape, array.dtype, memory, start, array.strides)
            arrays[name] = kept
        return arrays

    def new(self, function: str, value: Any) -> str:
        """A name for what a function returned."""
        names = {name for name, _ in self._values.values()} | set(self._known)
        count = next(k for k in range(1, 1000) if f"{function}_{k}" not in names)
        self._values[id(value)] = f"{function}_{count}", value
        return f"{function}_{count}"

    def of(self, value: Any, *, is_written: bool = False) -> str:
        """A value as Python."""
        if id(value) in self._values:
            return self._values[id(value)][0]
        if isinstance(value, np.ndarray):
            if is_written:
                self._written.add(_address(value))
            return self._of_array(value)
        if isinstance(value, type) and issubclass(value, np.generic):
            return f"np.{np.dtype(value).name}"
        return repr(value)

    def _of_array(self, array: Array) -> str:
        if same := self._same(array):
            # y may lie where x was: it is called y when it is written.
            return same[-1 if _address(array) in self._written else 0]
        for name, known in reversed(self._known.items()):
            if (expression := _view(name, known, array)) is not None:
                return expression
        for name, value in self._values.values():
            if isinstance(value, np.ndarray) and (found := _view(name, value, array)) is not None:
                return found
        return self._add("array", array)


def _owner(array: Array) -> Array:
    """The array whose memory it is a view of: itself, if that is no contiguous one."""
    owner, base = array, array.base
    while base is not None:
        if isinstance(base, np.ndarray) and base.flags.forc:
            owner = base
        base = getattr(base, "base", None)
    return owner


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def _is_same(a: Array, b: Array) -> bool:
    return a is b or (
        _address(a) == _address(b)
        and (a.shape, a.strides, a.dtype) == (b.shape, b.strides, b.dtype)
    )


def _view(name: str, array: Array, view: Array) -> str | None:
    """view as an expression of array, if it is a simple one."""
    if view.dtype != array.dtype or not np.may_share_memory(array, view):
        return None
    candidates = {f"{name}.T": array.T}
    if view.size == array.size and array.flags.c_contiguous:
        candidates[f"{name}.reshape{view.shape}"] = array.reshape(view.shape)
        candidates[f"{name}.reshape{view.shape[::-1]}.T"] = array.reshape(view.shape[::-1]).T
    if array.ndim == 3:
        candidates[f"{name}.swapaxes(0, 1)"] = array.swapaxes(0, 1)
    if view.ndim == 2 and view.shape[1] == 1 and array.ndim == 1:
        candidates[f"{name}[:, np.newaxis]"] = array[:, np.newaxis]
    if array.ndim and view.shape[1:] == array.shape[1:] and array.strides[0]:
        start, rest = divmod(_address(view) - _address(array), array.strides[0])
        if rest == 0 and view.ndim:
            end = start + len(view)
            candidates[f"{name}[{start or ''}:{end}]"] = array[start:end]
    return next((text for text, each in candidates.items() if _is_same(each, view)), None)
