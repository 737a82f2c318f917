"""Synchronized batch norm on dask: the ranks are tasks, one on each worker.

They run what sync_batch_norm_mpi.py runs, and print its tables: only the communicator is another.
Dask has no allgather, but it has actors: objects that live on one worker, and that all tasks can
call. Here one is the place where the ranks meet: each leaves its value there, and waits until
those of all others are there too. It takes some milliseconds, about four times as long as MPI.
Needs dask, which pip install -e ".[dask]" brings. Takes ten seconds.
"""

import asyncio
import sys

from sync_batch_norm_mpi import compare, make_parser, refusal
from threadpoolctl import threadpool_limits


class MeetingPlace:
    """Where ranks exchange values, in one round after another."""

    def __init__(self, size):
        self.size, self.rounds = size, {}

    async def exchange(self, turn, rank, value):
        values, complete = self.rounds.setdefault(turn, ({}, asyncio.Event()))
        values[rank] = value
        if len(values) == self.size:
            del self.rounds[turn]
            complete.set()
        await complete.wait()
        return [values[each] for each in range(self.size)]


class Communicator:
    """A rank's way to the others."""

    def __init__(self, place, rank, size):
        self.place, self.rank, self.size = place, rank, size
        self.turn = 0

    def allgather(self, value):
        self.turn += 1
        return self.place.exchange(self.turn, self.rank, value).result()


def run_rank(place, rank, size, steps, batch_sizes):
    """What one task does: all of it has to run at once."""
    with threadpool_limits(1):
        return compare(Communicator(place, rank, size), steps, batch_sizes)


def main(arguments=None):
    parser = make_parser(__doc__)
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="default 2")
    options = parser.parse_args(arguments)
    size = options.workers
    if size < 1:
        parser.error("--workers: expected 1 or more")
    if wrong := refusal(options.batch_sizes, size):
        parser.error(wrong)
    try:
        from dask.distributed import Client, LocalCluster
    except ImportError as error:
        return f'{error}: pip install -e ".[dask]" brings it'

    with (
        LocalCluster(n_workers=size, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        place = client.submit(MeetingPlace, size, actor=True).result()
        ranks = [
            client.submit(
                run_rank, place, rank, size, options.steps, options.batch_sizes, workers=[worker]
            )
            for rank, worker in enumerate(client.nthreads())
        ]
        print(client.gather(ranks)[0])
    return 0


if __name__ == "__main__":
    sys.exit(main())
