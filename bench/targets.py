"""What the figures are held against: one row of a table for each, with whether it is reached;
run.report_targets() prints it."""


class Target:
    """A figure, its limit, and how people read it; `value` None: not measured this time."""

    def __init__(self, name, value, limit, at_least=False, unit=''):
        self.name = name
        self.value = value
        self.limit = limit
        self.at_least = at_least
        self.unit = unit

    def reached(self):
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def line(self):
        sign = '>=' if self.at_least else '<='
        return [self.name, f'{self.value:.3g}{self.unit}', f'{sign} {self.limit:g}{self.unit}',
                'yes' if self.reached() else 'NO']

    def as_dict(self):
        return {'name': self.name, 'value': self.value, 'limit': self.limit,
                'at_least': self.at_least, 'reached': self.reached()}


def quotient(a, b):
    """None where either is not known."""
    return a / b if a is not None and b else None
