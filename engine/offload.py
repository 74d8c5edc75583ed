"""Keeps one network of a pipeline on the device at a time: the one at work. The others wait in the host's memory.

Every switch moves weights over the bus, so it costs time at each text, each decode and the step after it; what it buys
is that the device need only hold the largest network. Used by one thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import torch

HOST = torch.device("cpu")


class Offload:
    """The networks of one pipeline, by name."""

    def __init__(
        self, networks: Mapping[str, torch.nn.Module], *, device: torch.device, host: torch.device = HOST
    ) -> None:
        self.at_work: str | None = None
        self.moves = 0  # to the device
        self._networks = dict(networks)
        self._device = device
        self._host = host

    def install(self) -> None:
        """From now on a network comes to the device when it is called, and the one before it leaves."""
        for name, network in self._networks.items():
            network.to(self._host)
            for door in _doors(network):
                door.register_forward_pre_hook(partial(self._before, name))

    def _before(self, name: str, *_: object) -> None:
        if name == self.at_work:
            return
        if self.at_work is not None:
            self._networks[self.at_work].to(self._host)
        self._networks[name].to(self._device)
        self.at_work = name
        self.moves += 1


def _doors(network: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """Where calls come in: a VAE is called by its halves, which it has as modules of its own."""
    halves = [getattr(network, name, None) for name in ("encoder", "quant_conv", "decoder", "post_quant_conv")]
    doors = [half for half in halves if isinstance(half, torch.nn.Module)]
    is_vae = hasattr(network, "decode") and doors
    yield from doors if is_vae else [network]
