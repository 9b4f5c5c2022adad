"""Settings: a file and an environment compiled to one frozen tree; errors carry file:line:col."""

from gateway.settings.load import from_mapping, load
from gateway.settings.model import Server, Store
from gateway.settings.networks import builtin_networks
from gateway.settings.tree import (
    X402,
    Conxa,
    Facilitator,
    FacilitatorServer,
    Network,
    Rails,
    Settings,
    Upstream,
)

__all__ = [
    "X402",
    "Conxa",
    "Facilitator",
    "FacilitatorServer",
    "Network",
    "Rails",
    "Server",
    "Settings",
    "Store",
    "Upstream",
    "builtin_networks",
    "from_mapping",
    "load",
]
