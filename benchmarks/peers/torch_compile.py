"""torch.compile: the same PyTorch code, compiled to C++ for each shape."""

import torch

from benchmarks.peers import base, torch_peer
from benchmarks.peers.base import Kernels
from benchmarks.timing import Task

NAME = "torch.compile"


class TorchCompilePeer(base.Peer):
    """Compiled PyTorch; it needs a C++ compiler, and says so where there is none."""

    library = NAME

    def kernels(self, case: base.KernelCase) -> Kernels:
        if NAME in self.missing:
            return
        # What was compiled for another shape counts towards a limit, after which it stays eager.
        torch.compiler.reset()
        try:
            for operation, task in torch_peer.autograd_path(case, self._compiled):
                task.run()
                yield operation, NAME, task
        except Exception as error:
            self._note(error)

    def trainers(self, setup: base.Setup) -> dict[str, base.Trainer]:
        if NAME in self.missing:
            return {}
        torch.compiler.reset()
        try:
            # The one that is thrown away meets the compiler's errors.
            torch_peer.trainer(setup, self._compiled).first(1)
            return {NAME: torch_peer.trainer(setup, self._compiled)}
        except Exception as error:
            self._note(error)
            return {}

    def evaluations(self, values: base.Values, images: base.Array) -> dict[str, Task]:
        if NAME in self.missing:
            return {}
        torch.compiler.reset()
        network = torch_peer.network_of(values).eval()
        try:
            task = torch_peer.evaluation(self._compiled(network), images)
            task.run()
            return {f"{NAME}, whole": task}
        except Exception as error:
            self._note(error)
            return {}

    def _compiled(self, function):
        return torch.compile(function, dynamic=False)

    def _note(self, error):
        # Anything: a compiler that is not there, or fails, has many ways to say so.
        lines = str(error).strip().splitlines()
        self.missing[NAME] = f"{type(error).__name__}: {lines[0] if lines else ''}"
