"""The ZEO package's own tests, with zkrunzeo as their server."""
