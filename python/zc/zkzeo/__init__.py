"""ZEO clients that find their servers in ZooKeeper.

    storage = zc.zkzeo.client('zookeeper.example.com:2181', '/databases/demo')
    db = zc.zkzeo.DB('zookeeper.example.com:2181', '/databases/demo')
    connection = zc.zkzeo.connection('zookeeper.example.com:2181', '/databases/demo')

Further arguments are those of ClientStorage, which without ZooKeeper takes the place of
ZEO.ClientStorage.ClientStorage.
"""

from ._client import DB, client, connection
from ._storage import ClientStorage
from ._zkzeo import FailedConnect, __version__
from ._zookeeper import ZooKeeper

__all__ = ['ClientStorage', 'DB', 'FailedConnect', 'ZooKeeper', '__version__', 'client',
           'connection']
