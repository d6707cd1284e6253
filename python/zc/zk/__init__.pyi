from zc.zkzeo._zookeeper import ACL as ACL
from zc.zkzeo._zookeeper import OPEN_ACL_UNSAFE as OPEN_ACL_UNSAFE
from zc.zkzeo._zookeeper import READ_ACL_UNSAFE as READ_ACL_UNSAFE
from zc.zkzeo._zookeeper import Children as Children
from zc.zkzeo._zookeeper import Id as Id
from zc.zkzeo._zookeeper import ParseNode as ParseNode
from zc.zkzeo._zookeeper import Properties as Properties
from zc.zkzeo._zookeeper import RegisteringServer as RegisteringServer
from zc.zkzeo._zookeeper import ZnodeStat as ZnodeStat
from zc.zkzeo._zookeeper import ZooKeeper as ZooKeeper
from zc.zkzeo._zookeeper import decode as decode
from zc.zkzeo._zookeeper import encode as encode
from zc.zkzeo._zookeeper import parse_addr as parse_addr
from zc.zkzeo._zookeeper import parse_tree as parse_tree
from zc.zkzeo._zookeeper_errors import BadPropertyLink as BadPropertyLink
from zc.zkzeo._zookeeper_errors import BadVersionError as BadVersionError
from zc.zkzeo._zookeeper_errors import CancelWatch as CancelWatch
from zc.zkzeo._zookeeper_errors import ConnectionClosedError as ConnectionClosedError
from zc.zkzeo._zookeeper_errors import ConnectionLoss as ConnectionLoss
from zc.zkzeo._zookeeper_errors import FailedConnect as FailedConnect
from zc.zkzeo._zookeeper_errors import LinkLoop as LinkLoop
from zc.zkzeo._zookeeper_errors import NoAuthError as NoAuthError
from zc.zkzeo._zookeeper_errors import NodeExistsError as NodeExistsError
from zc.zkzeo._zookeeper_errors import NoNodeError as NoNodeError
from zc.zkzeo._zookeeper_errors import NotEmptyError as NotEmptyError
from zc.zkzeo._zookeeper_errors import OperationTimeoutError as OperationTimeoutError
from zc.zkzeo._zookeeper_errors import ZookeeperError as ZookeeperError

from . import event as event

ZK = ZooKeeper
