"""The clients that can do an item without a person, by name."""

from loominal.runner.clients.exec import Exec
from loominal.runner.clients.interface import Client

CLIENTS: dict[str, Client] = {client.name: client for client in (Exec(),)}
