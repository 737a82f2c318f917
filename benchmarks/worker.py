"""The process that measures; `launch` starts it with the threads set, and reads its lines.

    python -m benchmarks.worker REQUEST

REQUEST is JSON: settings, groups, libraries, threads, only. Each line on its standard output is a
JSON object with one of: record, missing (contestant -> reason), versions, machine, done (a case is
finished), error (and it ends).
"""

import dataclasses
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from benchmarks import groups, machine, peers
from benchmarks.comparison import Disagreement
from benchmarks.context import Context
from benchmarks.settings import Settings


def work(request: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> None:
    """Measure what the request asks for, and send what comes of it."""
    context_peers, missing = peers.load(request["libraries"])
    context = Context(
        Settings.from_dict(request["settings"]),
        context_peers,
        request["threads"],
        request["only"],
    )
    send({"machine": machine.describe(), "versions": machine.versions(), "missing": missing})
    for name in request["groups"]:
        module = groups.group(name)
        for case in module.cases(context.settings):
            for record in module.run(case, context):
                send({"record": dataclasses.asdict(record)})
            send({"done": name})
    for peer in context_peers:
        send({"missing": peer.missing})


def main() -> int:
    """Run as a program."""
    # What libraries print must not come between the lines.
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def send(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=lines, flush=True)

    try:
        work(json.loads(sys.argv[1]), send)
    except Disagreement as error:
        send({"error": str(error)})
        return 1
    except Exception as error:
        traceback.print_exc()
        send({"error": f"{type(error).__name__}: {error}"})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
