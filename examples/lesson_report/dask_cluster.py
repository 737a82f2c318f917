"""Runs on dask: on this machine's cores, or on a cluster of many machines.

`npbn.experiments.run_all` takes any concurrent.futures.Executor, and dask.distributed makes one of
a cluster. Every worker needs npbn and the data; results come back to the file here. Needs dask,
which pip install -e ".[dask]" brings.
"""

from contextlib import ExitStack, contextmanager


@contextmanager
def dask_executor(scheduler, workers):
    """An executor on a cluster: that of a scheduler, as in tcp://host:8786, or "here" a new one."""
    from dask.distributed import Client, LocalCluster

    with ExitStack() as stack:
        if scheduler == "here":
            scheduler = stack.enter_context(
                LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
            )
        client = stack.enter_context(Client(scheduler))
        yield stack.enter_context(client.get_executor())
