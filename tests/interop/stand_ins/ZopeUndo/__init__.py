"""Stands for the package ZopeUndo, of which Zope sends a class to its server."""
