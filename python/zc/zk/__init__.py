"""Service registration and discovery with ZooKeeper: what zc.zk 2.1 has, from zc.zkzeo.

    zk = zc.zk.ZooKeeper('zookeeper.example.com:2181')
    zk.register('/fooservice/providers', ('192.168.0.42', 8080))
    addresses = zk.children('/fooservice/providers')
    data = zk.properties('/fooservice')
    zk.import_tree(text)
"""

from zc.zkzeo._zookeeper import (ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE, Children, Id, ParseNode,
                                 Properties, RegisteringServer, ZnodeStat, ZooKeeper, decode,
                                 encode, parse_addr, parse_tree)
from zc.zkzeo._zookeeper_errors import (BadPropertyLink, BadVersionError, CancelWatch,
                                        ConnectionClosedError, ConnectionLoss, FailedConnect,
                                        LinkLoop, NoAuthError, NodeExistsError, NoNodeError,
                                        NotEmptyError, OperationTimeoutError, ZookeeperError)

from . import event

ZK = ZooKeeper

__all__ = [
    'ACL', 'BadPropertyLink', 'BadVersionError', 'CancelWatch', 'Children',
    'ConnectionClosedError', 'ConnectionLoss', 'FailedConnect', 'Id', 'LinkLoop', 'NoAuthError',
    'NoNodeError', 'NodeExistsError', 'NotEmptyError', 'OPEN_ACL_UNSAFE', 'OperationTimeoutError',
    'ParseNode', 'Properties', 'READ_ACL_UNSAFE', 'RegisteringServer', 'ZK', 'ZnodeStat',
    'ZooKeeper', 'ZookeeperError', 'decode', 'encode', 'event', 'parse_addr', 'parse_tree']
