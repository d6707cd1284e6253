"""ZEO clients that find their servers in ZooKeeper."""

from ._zkzeo import __version__
from ._zookeeper import ZooKeeper

__all__ = ['ZooKeeper', '__version__']
