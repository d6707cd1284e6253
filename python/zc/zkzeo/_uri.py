"""URIs for zodburi: zkzeo://HOST:PORT[,HOST:PORT...]/PATH[?OPTION=VALUE&...]

Options are ClientStorage's; what is none is left to the database, as zodburi has it.
"""

from urllib.parse import parse_qsl, unquote, urlsplit

from zodburi.datatypes import convert_bytesize, convert_int

from ._client import client

CONVERTERS = {
    **dict.fromkeys(('storage', 'name', 'cache', 'client', 'var', 'blob_dir', 'client_label',
                     'username', 'password', 'realm'), str),
    **dict.fromkeys(('read_only', 'read_only_fallback', 'shared_blob_dir', 'wait',
                     'wait_for_server_on_startup', 'wait_timeout', 'blob_cache_size_check',
                     'drop_cache_rather_verify', 'server_sync'), convert_int),
    **dict.fromkeys(('min_disconnect_poll', 'max_disconnect_poll'), float),
    **dict.fromkeys(('cache_size', 'blob_cache_size'), convert_bytesize),
}


def resolver(uri):
    """(a function that makes the storage, arguments for the database)"""
    parts = urlsplit(uri)
    if not parts.netloc or parts.path in ('', '/'):
        raise ValueError(f'{uri!r}: expected zkzeo://HOST:PORT/PATH')
    options = {}
    rest = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in CONVERTERS:
            options[name] = CONVERTERS[name](value)
        else:
            rest[name] = value

    def factory():
        return client(parts.netloc, unquote(parts.path), **options)
    return factory, rest
