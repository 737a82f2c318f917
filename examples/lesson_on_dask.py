"""The lesson's runs on dask: on this machine's cores, or on a cluster of many machines.

`run_all` takes any concurrent.futures.Executor, and dask.distributed makes one of a cluster. Every
worker needs npbn and the data; results come back to the file here. Needs dask, which
pip install -e ".[dask]" brings.
"""

import argparse
import sys
from pathlib import Path

from npbn.experiments import run_all
from npbn.lesson import lesson_runs, write_report


def main(arguments=None):
    summary, details = __doc__.split("\n\n", 1)
    parser = argparse.ArgumentParser(description=summary, epilog=details)
    add = parser.add_argument
    add("--scheduler", metavar="ADDRESS", help="of a cluster, as in tcp://host:8786; default: here")
    add("--workers", type=int, default=2, metavar="N", help="runs at a time; default 2")
    add("--runs", type=int, nargs="+", default=[2], metavar="N", help="of the lesson; default 2")
    add("--seeds", type=int, nargs="+", default=[0], metavar="N", help="default 0")
    add("--output", type=Path, default=Path("lesson_report"), metavar="FOLDER")
    options = parser.parse_args(arguments)
    try:
        from dask.distributed import Client, LocalCluster
    except ModuleNotFoundError:
        parser.error('needs dask: pip install -e ".[dask]"')

    calls = [call for call in lesson_runs() if set(call.numbers) & set(options.runs)]
    runs = [run for call in calls for run in call.runs(options.seeds)]
    results = options.output / "results.jsonl"
    if options.scheduler:
        client = Client(options.scheduler)
    else:
        cluster = LocalCluster(
            n_workers=options.workers, threads_per_worker=1, dashboard_address=None
        )
        client = Client(cluster)
    with client, client.get_executor() as executor:
        records = run_all(runs, results, executor=executor, workers=options.workers)
    if not options.scheduler:
        cluster.close()
    for run, record in records.items():
        print(f"{record.result.validation_accuracy:.4f}  {run}")
    for path in write_report(results, options.output):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
