"""Write a FileStorage of many small objects, fast.

  make_datafs.py FILE [OBJECTS [BYTES]]

Object 0 is an empty root; the others are PersistentMappings whose record has BYTES bytes.
Each transaction has 1,000 of them.
"""

import struct
import sys
import time

TXN_OBJECTS = 1000
FIRST_TID = 0x03e8000000000000
CLASS = b'\x80\x03cpersistent.mapping\nPersistentMapping\n.'
DATA_HEADER = struct.Struct('>8s8sQQHQ')
TXN_HEADER = struct.Struct('>8sQcHHH')


def record(size):
    """A pickled PersistentMapping({'x': b'...'}) of `size` bytes."""
    head = CLASS + b'\x80\x03}X\x04\x00\x00\x00data}X\x01\x00\x00\x00xB'
    tail = b'ss.'
    n = size - len(head) - 4 - len(tail)
    if n < 0:
        raise ValueError(f'a record has at least {size - n} bytes')
    return head + struct.pack('<I', n) + bytes(n) + tail


ROOT = CLASS + b'\x80\x03}X\x04\x00\x00\x00data}s.'


def write_transaction(file, pos, tid, records):
    """records: (oid, data); returns the position behind."""
    p_tid = struct.pack('>Q', tid)
    parts = []
    for oid, data in records:
        parts.append(DATA_HEADER.pack(struct.pack('>Q', oid), p_tid, 0, pos, 0, len(data)))
        parts.append(data)
    body = b''.join(parts)
    length = TXN_HEADER.size + len(body)
    file.write(TXN_HEADER.pack(p_tid, length, b' ', 0, 0, 0))
    file.write(body)
    file.write(struct.pack('>Q', length))
    return pos + length + 8


def make(path, objects=1_000_000, size=500):
    data = record(size)
    with open(path, 'wb') as f:
        f.write(b'FS30')
        pos = write_transaction(f, 4, FIRST_TID, [(0, ROOT)])
        for n, first in enumerate(range(1, objects, TXN_OBJECTS), 1):
            last = min(first + TXN_OBJECTS, objects)
            pos = write_transaction(
                f, pos, FIRST_TID + n * 1000, ((oid, data) for oid in range(first, last)))
    return pos


if __name__ == '__main__':
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    start = time.monotonic()
    length = make(sys.argv[1], *map(int, sys.argv[2:]))
    print(f'{sys.argv[1]}: {length} bytes in {time.monotonic() - start:.1f} s')
