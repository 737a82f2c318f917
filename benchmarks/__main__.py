"""Measure npbn beside its peers; print tables; keep every value in a file.

With no arguments everything is measured, with all peers that are installed, one thread each for the
ratios and then each with its default threads: twenty minutes or more. The tables can be made again
from the file at any time: python -m benchmarks.tables FILE.
"""

import argparse
import dataclasses
import datetime
import sys

from benchmarks import launch, tables
from benchmarks.groups import GROUPS
from benchmarks.peers import PEERS
from benchmarks.results import Results
from benchmarks.settings import FULL, QUICK


def parse_arguments(arguments=None):
    """The command's arguments."""
    summary, details = __doc__.split("\n\n", 1)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=summary, epilog=details
    )
    add = parser.add_argument
    add("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; default all")
    add("--quick", action="store_true", help="few shapes, few turns, one thread: for a first look")
    add("--json", metavar="FILE", help="keep every value of every turn, versions and machine")
    add(
        "--peers",
        metavar="NAMES",
        type=_names,
        help=f"compare with these, of {','.join(PEERS)}; default all that are installed "
        "(with --quick less torch.compile, which compiles for long)",
    )
    add("--shapes", metavar="SHAPES", type=_shapes, help="for kernels, such as 60x100,1024x1024")
    add("--turns", metavar="N", type=int, help="rounds of interleaved turns")
    parsed = parser.parse_args(arguments)
    if unknown := [name for name in parsed.groups if name not in GROUPS]:
        parser.error(f"no group {', '.join(unknown)}: there are {', '.join(GROUPS)}")
    return parsed


def main(arguments=None):
    """Run the command; returns its exit code."""
    options = parse_arguments(arguments)
    settings = QUICK if options.quick else FULL
    if options.shapes:
        settings = dataclasses.replace(settings, shapes=options.shapes)
    if options.turns:
        settings = dataclasses.replace(settings, turns=options.turns)
    chosen = [name for name in GROUPS if not options.groups or name in options.groups]
    default = [name for name in PEERS if not (options.quick and name == "torch.compile")]
    requests = launch.plan(settings, chosen, options.peers or default, not options.quick)
    results = Results(
        run={
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "arguments": list(sys.argv[1:] if arguments is None else arguments),
            "quick": options.quick,
            "complete": False,
            "settings": settings.as_dict(),
        }
    )
    try:
        _measure(requests, results)
        results.run["complete"] = True
    except launch.WorkerFailed as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("benchmarks: interrupted; what was measured is kept", file=sys.stderr)
        return 130
    finally:
        # What was measured before a mistake or an interruption is not lost.
        if options.json:
            results.save(options.json)
        print(tables.report(results))
    return 0


def _measure(requests, results):
    from tqdm import tqdm

    with tqdm(total=sum(map(launch.size, requests)), unit=" case", file=sys.stderr) as bar:

        def advance(group):
            bar.set_description(group, refresh=False)
            bar.update()

        for request in requests:
            # The bar first shows what takes long: the libraries' own imports.
            bar.set_description(f"loading {', '.join(request['libraries'])}")
            launch.gather(request, results, advance)


def _names(text):
    names = text.split(",")
    if unknown := [name for name in names if name not in PEERS]:
        raise argparse.ArgumentTypeError(
            f"no peer {', '.join(unknown)}: there are {', '.join(PEERS)}"
        )
    return names


def _shapes(text):
    try:
        shapes = tuple(tuple(int(size) for size in shape.split("x")) for shape in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected such as 60x100,256x512, got {text}") from None
    if any(len(shape) < 2 or min(shape) < 2 for shape in shapes):
        raise argparse.ArgumentTypeError(
            "expected two axes or more, and two values or more in each"
        )
    return shapes


if __name__ == "__main__":
    sys.exit(main())
