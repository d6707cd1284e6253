"""TLS with an SSLContext of Python's.

The client, in C, cannot use such a context itself: a small thread stands between the two. A
<ssl> section in a configuration, where there is one, needs none of this.
"""

import selectors
import socket
import ssl
import threading

CHUNK = 1 << 16


class Dialer:
    """Connects with a context; what the client gets is one end of a pair of sockets."""

    def __init__(self, context, server_hostname):
        self.context = context
        self.server_hostname = server_hostname

    def __call__(self, address, timeout):
        """(file descriptor, the server's address)"""
        raw, peer = self._connect(address, timeout)
        try:
            # in the way of asyncio: a Unix socket has no name of its own to be checked
            name = self.server_hostname
            if name is None and not isinstance(address, str):
                name = address[0]
            tls = self.context.wrap_socket(raw, server_hostname=name)
        except BaseException:
            raw.close()
            raise
        ours, theirs = socket.socketpair()
        Pump(tls, ours).start()
        return theirs.detach(), peer

    def _connect(self, address, timeout):
        if isinstance(address, str):
            raw = socket.socket(socket.AF_UNIX)
            raw.settimeout(timeout)
            try:
                raw.connect(address)
            except BaseException:
                raw.close()
                raise
            return raw, address
        raw = socket.create_connection(address, timeout)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return raw, raw.getpeername()[:2]


class Direction:
    """Bytes on their way from one socket to the other."""

    def __init__(self, source, target):
        self.source = source
        self.target = target
        self.waiting = b''
        self.ended = False


class Pump(threading.Thread):
    """Moves bytes between a TLS connection and a socket, until one of them ends."""

    def __init__(self, tls, plain):
        super().__init__(name='zkzeo TLS', daemon=True)
        self.tls = tls
        self.plain = plain
        tls.setblocking(False)
        plain.setblocking(False)

    def run(self):
        try:
            self._run()
        except OSError:
            pass  # the connection is lost, which the other side sees
        finally:
            self.tls.close()
            self.plain.close()

    def _run(self):
        incoming = Direction(self.tls, self.plain)
        outgoing = Direction(self.plain, self.tls)
        with selectors.DefaultSelector() as selector:
            while True:
                wanted = {self.tls: 0, self.plain: 0}
                # what TLS has read ahead is not seen on the socket: both are tried again
                for way in (incoming, outgoing):
                    self._move(way, wanted)
                if incoming.ended or outgoing.ended:
                    break
                self._wait(selector, wanted)

    def _wait(self, selector, wanted):
        known = {key.fileobj: key.events for key in selector.get_map().values()}
        for sock, events in wanted.items():
            if known.get(sock, 0) == events:
                continue
            if sock in known:
                selector.unregister(sock)
            if events:
                selector.register(sock, events)
        selector.select()

    def _move(self, way, wanted):
        """Move what can be moved, and note what has to be waited for."""
        while True:
            if not way.waiting:
                try:
                    way.waiting = way.source.recv(CHUNK)
                except (BlockingIOError, ssl.SSLWantReadError):
                    wanted[way.source] |= selectors.EVENT_READ
                    return
                except ssl.SSLWantWriteError:
                    wanted[way.source] |= selectors.EVENT_WRITE
                    return
                if not way.waiting:
                    way.ended = True
                    return
            try:
                sent = way.target.send(way.waiting)
            except (BlockingIOError, ssl.SSLWantWriteError):
                wanted[way.target] |= selectors.EVENT_WRITE
                return
            except ssl.SSLWantReadError:
                wanted[way.target] |= selectors.EVENT_READ
                return
            way.waiting = way.waiting[sent:]
