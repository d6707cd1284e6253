"""Checks of data files with ZODB's own tools."""

import contextlib
import io


def fstest(path):
    """What ZODB's fstest has to say against a file: a list of texts, empty for a sound one."""
    from ZODB.scripts import fstest as tool
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            tool.check(str(path))
    except tool.FormatError as e:
        return [str(e)]
    return []


def fsrefs(path):
    """What ZODB's fsrefs has to say against a file."""
    from ZODB.scripts import fsrefs as tool
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        tool.main(str(path))
    return out.getvalue()
