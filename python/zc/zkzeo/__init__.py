"""ZEO clients that find their servers in ZooKeeper."""

from ._zkzeo import __version__

__all__ = ['__version__']
