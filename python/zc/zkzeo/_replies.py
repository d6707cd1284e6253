"""What the C code leaves to Python: answers of any type, and exceptions as ZEO rebuilds them."""

import base64
import logging

import ZEO.asyncio.marshal
from ZEO.asyncio.client import exc_factories, unlogged_exceptions
from ZEO.Exceptions import ServerException

logger = logging.getLogger('ZEO.asyncio.client')

ERROR = 2
_decoders = {}


def decode(content, encoding):
    """A value as the server has encoded it; `encoding` is 'Z' or 'M'."""
    decoder = _decoders.get(encoding)
    if decoder is None:
        decoder = _decoders[encoding] = ZEO.asyncio.marshal.decoder(encoding.encode('ascii'))
    return decoder(content)


def result(content, encoding):
    """The result of a call, or its exception, from the content of the answer's frame."""
    _, flag, _, value = decode(content, encoding)
    if flag == ERROR:
        raise _exception(*value)
    if (isinstance(value, tuple) and len(value) > 1 and isinstance(value[0], type)
            and issubclass(value[0], Exception)):
        # as servers before ZEO 5 say it
        if not issubclass(value[0], unlogged_exceptions):
            logger.error('from server: %s.%s:%s',
                         value[0].__module__, value[0].__name__, value[1])
        raise value[1]
    return value


def _exception(class_name, args):
    factory = exc_factories.get(class_name)
    if factory is None:
        return ServerException(class_name, args)
    exc = factory(class_name, args)
    if not isinstance(exc, unlogged_exceptions):
        logger.error('from server: %s:%s', class_name, args)
    return exc


def undo_tid(transaction_id):
    """The tid in the id that an undo log gives."""
    tid = base64.decodebytes(transaction_id + b'\n')
    if len(tid) != 8:
        raise ValueError(f'{transaction_id!r} is no transaction id of an undo log')
    return tid


def give_data(txn):
    """Let a transaction that is being copied remember what storages keep in it."""
    data = {}
    txn.data = data.__getitem__
    txn.set_data = data.__setitem__
