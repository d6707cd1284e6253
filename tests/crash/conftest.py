"""The servers and clients of tests/interop, for tests that kill."""

import importlib.util
import pathlib
import sys

INTEROP = pathlib.Path(__file__).resolve().parent.parent / 'interop'
sys.path.insert(0, str(INTEROP))
_spec = importlib.util.spec_from_file_location('interop_servers', INTEROP / 'conftest.py')
_servers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_servers)

start_server = _servers.start_server
server = _servers.server
