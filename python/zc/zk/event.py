"""Where events go: zope.event, where that is installed; else replace notify()."""

try:
    from zope.event import notify
except ImportError:
    def notify(event):
        """Nobody is told."""

__all__ = ['notify']
