"""tests/tools/client_tool: our client, as another process that does what it is told."""

import queue
import subprocess
import threading

from wire import p64

ANSWER_TIMEOUT_S = 60

BUSY, CLOSED, CONFLICT, NOENT, NOKEY, READONLY = -15, -16, -12, -7, -11, -13


class ToolError(Exception):
    def __init__(self, code, text):
        super().__init__(code, text)
        self.code = code
        self.text = text


def place(address):
    return address if isinstance(address, str) else '%s:%d' % address


class ClientTool:
    """A process with one client; ask() gives the words of an answer."""

    def __init__(self, path, log, *addresses, options=()):
        self.log = log
        with open(log, 'ab') as err:
            self.process = subprocess.Popen(
                [path, *map(str, options), *map(place, addresses)], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=err, text=True, bufsize=1)
        self.lines = queue.Queue()
        self.events = []
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()
        self.opened = self.answer()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.split())
        self.lines.put(None)

    def line(self, timeout=ANSWER_TIMEOUT_S):
        words = self.lines.get(timeout=timeout)
        assert words is not None, f'the client has ended: {self.text()}'
        return words

    def answer(self):
        while True:
            words = self.line()
            if words[0] == 'event':
                self.events.append(words[1:])
            elif words[0] == 'error':
                raise ToolError(int(words[1]), ' '.join(words[2:]))
            else:
                return words[1:]

    def send(self, *words):
        self.process.stdin.write(' '.join(map(str, words)) + '\n')

    def ask(self, *words):
        self.send(*words)
        return self.answer()

    def event(self, *wanted):
        """Wait for an event that begins with these words; what came before it is dropped."""
        while True:
            for i, words in enumerate(self.events):
                if words[:len(wanted)] == list(wanted):
                    del self.events[:i + 1]
                    return words
            self.events.clear()
            words = self.line()
            assert words[0] == 'event', words
            self.events.append(words[1:])

    def state(self):
        words = self.ask('state')
        text = ' '.join(words)
        head, _, verify = text.partition(' verify=')
        head, _, key = head.partition(' sort_key=')
        return dict(w.split('=') for w in head.split()) | {'verify': verify, 'sort_key': key}

    def wait(self):
        self.ask('wait', 30000)
        return self

    def load(self, oid, tid=None):
        """(data, serial, end tid or None)"""
        serial, end, data = self.ask('load', '%x' % oid, *([tid.hex()] if tid else []))
        end = bytes.fromhex(end)
        return bytes.fromhex(data), bytes.fromhex(serial), None if end == bytes(8) else end

    def cached(self, oid, tid=None):
        words = self.ask('cached', '%x' % oid, *([tid.hex()] if tid else []))
        return None if words == ['none'] else bytes.fromhex(words[0])

    def commit(self, *stores):
        """Each is (oid, serial, data); the tid."""
        self.ask('begin')
        for oid, serial, data in stores:
            self.ask('store', '%x' % oid, serial.hex(), data.hex())
        try:
            self.ask('vote')
        except ToolError:
            self.ask('abort', 1)
            raise
        return bytes.fromhex(self.ask('finish')[0])

    def text(self):
        with open(self.log, errors='replace') as f:
            return f.read()

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                assert self.process.wait(ANSWER_TIMEOUT_S) == 0, self.text()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
        self.thread.join()
        self.process.stdout.close()


def record(text):
    """A data record that Python's ZODB could load: a PersistentMapping without contents but a text."""
    import pickle
    return (b'\x80\x03c' + b'persistent.mapping\nPersistentMapping\n.' +
            pickle.dumps({'data': {'text': text}}, 3))


__all__ = ['BUSY', 'CLOSED', 'CONFLICT', 'NOENT', 'NOKEY', 'READONLY', 'ClientTool', 'ToolError', 'p64',
           'record']
