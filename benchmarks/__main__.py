"""Measure npbn beside its peers; print tables; keep every value in a file.

With no arguments everything is measured, with all peers that are installed, one thread each for the
ratios and then each with its default threads: twenty minutes or more. The tables can be made again
from the file at any time: python -m benchmarks.tables FILE.
"""

import argparse
import datetime
import sys
from dataclasses import asdict, replace

from benchmarks import peers, processes, tables
from benchmarks.measure import GROUPS, measure
from benchmarks.results import Results
from benchmarks.settings import FULL, QUICK


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    summary, details = __doc__.split("\n\n", 1)
    parser = argparse.ArgumentParser("python -m benchmarks", description=summary, epilog=details)
    add = parser.add_argument
    add("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; default all")
    add("--quick", action="store_true", help="few shapes, few turns, one thread: for a first look")
    add("--json", metavar="FILE", help="keep every value of every turn, versions and machine")
    add(
        "--peers",
        metavar="NAMES",
        help=f"compare with these, of {','.join(peers.PEERS)}; default all that are installed "
        "(with --quick less torch.compile, which compiles for long)",
    )
    add("--turns", metavar="N", type=int, help="rounds of interleaved turns")
    options = parser.parse_intermixed_args(arguments)
    settings = QUICK if options.quick else FULL
    if options.turns:
        settings = replace(settings, turns=options.turns)
    libraries = [name for name in peers.PEERS if not (options.quick and name == "torch.compile")]
    if options.peers:
        libraries = options.peers.split(",")
    for kind, chosen, known in (
        ("group", options.groups, GROUPS),
        ("peer", libraries, peers.PEERS),
    ):
        if unknown := [name for name in chosen if name not in known]:
            parser.error(f"no {kind} {', '.join(unknown)}: there are {', '.join(known)}")
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    results = Results({"started": started, "quick": options.quick, "complete": False})
    results.run["settings"] = asdict(settings)
    chosen = [name for name in GROUPS if name in (options.groups or GROUPS)]
    try:
        measure(results, settings, chosen, libraries, default=not options.quick)
        results.run["complete"] = True
    except processes.Failed as error:
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


if __name__ == "__main__":
    sys.exit(main())
