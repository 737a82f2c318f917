"""The libraries that npbn is measured beside; one file each, all with the interface of base.Peer.

`load` imports those that are asked for, and says which are not there and why.
"""

from collections.abc import Iterable
from importlib import import_module, util

from benchmarks.peers.base import Peer

# --peers' names: where the Peer is, and the modules that it needs.
PEERS = {
    "npbn": ("npbn_peer", "NpbnPeer", ()),
    "reference": ("by_hand", "ReferencePeer", ()),
    "textbook": ("by_hand", "TextbookPeer", ()),
    "pytorch": ("torch_peer", "TorchPeer", ("torch",)),
    "torch.compile": ("torch_peer", "TorchCompilePeer", ("torch",)),
    "jax": ("jax_peer", "JaxPeer", ("jax",)),
    "tensorflow": ("tensorflow_peer", "TensorFlowPeer", ("tensorflow", "keras")),
    "autograd": ("autograd_peer", "AutogradPeer", ("autograd",)),
    "sklearn": ("sklearn_peer", "SklearnPeer", ("sklearn",)),
}


def load(libraries: Iterable[str]) -> tuple[list[Peer], dict[str, str]]:
    """The peers, npbn first, and for each that cannot be had the reason."""
    peers, missing = [], {}
    for library in dict.fromkeys(["npbn", *libraries]):
        file, name, needs = PEERS[library]
        absent = [module for module in needs if util.find_spec(module) is None]
        if absent:
            missing[library] = f"{absent[0]} is not installed"
            continue
        try:
            peers.append(getattr(import_module(f"benchmarks.peers.{file}"), name)())
        except (ImportError, OSError) as error:  # a library that is there but broken
            missing[library] = f"cannot be imported: {error}"
    return peers, missing
