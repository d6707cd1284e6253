"""%prog [options] zookeeper path

Where:

  zookeeper
    A ZooKeeper connection string

  path
    A ZooKeeper path at which to look up a ZEO server
"""

import optparse
import socket
import sys

import ZEO.nagios

from ._client import Addresses
from ._zkzeo import Finder

MONITOR_HELP = """The monitor server to ask which server is meant.

When several servers are registered at a path, it has to be said which one to check. A server that
was configured with a monitor-server answers there with its own address.
"""

TIMEOUT_S = 5


def _connect(address):
    host, colon, port = address.rpartition(':')
    if colon and port.isdigit() and '/' not in host:
        return socket.create_connection((host.strip('[]'), int(port)), TIMEOUT_S)
    s = socket.socket(socket.AF_UNIX)
    try:
        s.settimeout(TIMEOUT_S)
        s.connect(address)
    except BaseException:
        s.close()
        raise
    return s


def _ask_monitor(address, path):
    """The one server at `path` that the monitor at `address` is of, or None: says why."""
    try:
        with _connect(address) as s:
            s.sendall(f'servers {path}\n'.encode())
            with s.makefile('rb') as f:
                answer = f.read().decode(errors='replace').strip()
    except OSError as e:
        print(f"Can't connect {e}")
        return None
    if answer.lower().startswith('invalid '):
        print(f'{answer} at {address!r}')
        return None
    servers = sorted(set(answer.split()))
    if not servers:
        print(f'No servers at: {address!r}')
    elif len(servers) > 1:
        print(f'Too many servers, {servers!r}, at: {address!r}')
    else:
        return servers[0]
    return None


def find_server(zookeeper, path, monitor_address):
    """The address of the server at `path`; None when it is not clear which, and says why.

    `monitor_address`: of a monitor server that knows, or None.
    """
    server = None
    if monitor_address:
        server = _ask_monitor(monitor_address, path)
        if server is None:
            return None
    finder = Finder(zookeeper, path, False, lambda *args: None)
    try:
        children = list(Addresses(finder))
    finally:
        finder.close()
    if server:
        host, _, port = server.rpartition(':')
        children = [c for c in children
                    if (c == server if host else c.rpartition(':')[2] == port)]
    if len(children) != 1:
        print("Couldn't find server in ZooKeeper")
        return None
    return children[0]


def main(args=None):
    """The plugin: prints what it has found, and returns Nagios' status."""
    parser = optparse.OptionParser(__doc__)
    parser.add_option('-m', '--output-metrics', action='store_true', help='Output metrics.')
    parser.add_option('-s', '--status-path',
                      help='Path to status file, needed to get rate metrics')
    parser.add_option('-u', '--time-units', type='choice', default='minutes',
                      choices=['seconds', 'minutes', 'hours', 'days'],
                      help='Time unit for rate metrics')
    parser.add_option('-M', '--zc-monitor-address', help=MONITOR_HELP)
    options, args = parser.parse_args(sys.argv[1:] if args is None else args)
    if len(args) != 2:
        parser.error('a ZooKeeper connection string and a path are expected')
    address = find_server(*args, options.zc_monitor_address)
    if not address:
        return 2
    return ZEO.nagios.check(
        address, options.output_metrics, options.status_path, options.time_units)


if __name__ == '__main__':
    sys.exit(main())
