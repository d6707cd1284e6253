"""What goes wrong with ZooKeeper.

Where kazoo is installed, its exceptions of the same names are base classes of these: what was
written for zc.zk 2.1 goes on catching them.
"""

from ._zkzeo import FailedConnect

try:
    import kazoo.exceptions as _kazoo
except ImportError:
    _kazoo = None


def _bases(name):
    base = getattr(_kazoo, name, None)
    return (base,) if base is not None else ()


class ZookeeperError(*_bases('ZookeeperError') or (Exception,)):
    """ZooKeeper refused, for a reason that has no class here."""


def _error(name, doc):
    return type(name, (ZookeeperError, *_bases(name)), {'__doc__': doc, '__module__': __name__})


NoNodeError = _error('NoNodeError', 'There is no such path.')
NodeExistsError = _error('NodeExistsError', 'The path exists.')
NotEmptyError = _error('NotEmptyError', 'The node has children.')
BadVersionError = _error('BadVersionError', 'The node has another version.')
NoAuthError = _error('NoAuthError', 'The access control list does not permit it.')
ConnectionLoss = _error(
    'ConnectionLoss', 'The connection was lost: it is not known whether it was done.')
ConnectionClosedError = _error('ConnectionClosedError', 'close() was called.')
OperationTimeoutError = _error('OperationTimeoutError', 'ZooKeeper did not answer in time.')

ValueError = ValueError  # raised from C by its name here
MemoryError = MemoryError


class CancelWatch(Exception):
    """Raised by a callback that wants to be called no more."""


class LinkLoop(Exception):
    """Links lead back to where they came from."""


class BadPropertyLink(Exception):
    """A property link leads nowhere."""
