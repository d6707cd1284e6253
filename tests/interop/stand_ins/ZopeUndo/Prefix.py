"""ZopeUndo.Prefix: the same name and state, and the same notion of being equal."""


class Prefix:
    """Equal to every path it is a prefix of; what follows a space in the last step is a user."""

    def __init__(self, path):
        self.path = path.split('/')
        self.length = len(self.path)

    def __eq__(self, other):
        steps = other.split('/')
        last, space, _ = steps[-1].rpartition(' ')
        if space:
            steps[-1] = last
        return steps[:self.length] == self.path

    def __ne__(self, other):
        return not self == other
