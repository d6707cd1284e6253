"""The C programs that belong to this package."""

import importlib.metadata
import os
import shutil


def program(name):
    """The path of `zkrunzeo` or `zkzeo`.

    The environment's ZKZEO_PROGRAMS names a folder that comes first; then the one that was
    installed with this package, then PATH.
    """
    folder = os.environ.get('ZKZEO_PROGRAMS')
    for path in (folder and os.path.join(folder, name), _installed(name), shutil.which(name)):
        if path and os.access(path, os.X_OK):
            return path
    raise FileNotFoundError(
        f'the program {name} is neither installed with zc.zkzeo nor in PATH'
        + (f', nor in {folder} (ZKZEO_PROGRAMS)' if folder else ''))


def _installed(name):
    try:
        files = importlib.metadata.files('zc.zkzeo')
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files or ():
        if file.name == name and not file.suffix:
            return os.path.normpath(file.locate())
    return None
