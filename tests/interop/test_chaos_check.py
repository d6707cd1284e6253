"""The chaos test's checker finds what is wrong, each kind of it."""

import copy

import pytest
from chaos_check import NEW, SET_UP, Checker, Client, History, Transaction, chain_of, digest
from zodbpickle import pickle

MEMBERS = 'a1', 'a2'
RAW = 'b1'
CHECKED = 'c1'


def member(n, chain):
    class_, state = pickle.dumps(None, 3), pickle.dumps(
        {'data': {'n': n, 'chain': chain, 'group': 0}}, 3)
    return class_ + state


def tid(n):
    return f'{n:016x}'


CHAIN = chain_of('', 'x.0.0 1')
LATER = chain_of(CHAIN, 'x.0.0 2')
HISTORY = [
    Transaction(tid(1), NEW, {'00': b''}),
    Transaction(tid(2), SET_UP, {**{m: member(0, '') for m in MEMBERS}, RAW: b'0 set-up'}),
    Transaction(tid(10), 'x.0.0 1', {m: member(1, CHAIN) for m in MEMBERS}),
    Transaction(tid(20), 'y.0.0 1', {RAW: b'1 y'}),
    Transaction(tid(30), 'x.0.0 2', {m: member(2, LATER) for m in MEMBERS}),
    Transaction(tid(40), 'y.0.0 2', {RAW: b'2 y'}),
]


def group(serial, n, chain):
    return [[m, tid(serial), n, chain, 0] for m in MEMBERS]


OBJECTS = [
    ['begin', 'x.0.0', 7, tid(0), tid(3), 1.0],
    ['read', 'x.0.0', group(2, 0, '')],
    ['write', 'x.0.0', 1, list(MEMBERS), [[RAW, tid(2)]]],
    ['ok', 'x.0.0', 1, tid(10), 2.0],
    ['begin', 'x.0.0', 7, tid(10), tid(21), 5.0],
    ['read', 'x.0.0', group(10, 1, CHAIN)],
    ['write', 'x.0.0', 2, list(MEMBERS), []],
    ['?', 'x.0.0', 2, 'lost'],
    ['lost', 'x.0.0', 'the server'],
    ['write', 'x.0.0', 3, list(MEMBERS), []],
    ['no', 'x.0.0', 3, 'conflict'],
]
RAW_LINES = [
    ['load', 'y.0.0', RAW, tid(100), tid(10), [digest(b'0 set-up'), tid(2), None], tid(15)],
    ['load', 'y.0.0', RAW, tid(15), tid(25), [digest(b'0 set-up'), tid(2), tid(20)], tid(25)],
    ['load', 'y.0.0', RAW, tid(2), tid(25), None, tid(25)],
    ['write', 'y.0.0', 1, [RAW], []],
    ['ok', 'y.0.0', 1, tid(20), 3.0],
    ['serial', 'y.0.0', RAW, tid(20), digest(b'1 y')],
    ['write', 'y.0.0', 2, [RAW], []],  # and then it was killed
]


def errors_of(change=lambda history, objects, raw: None):
    history, objects, raw = copy.deepcopy((HISTORY, OBJECTS, RAW_LINES))
    change(history, objects, raw)
    clients = [Client('x', objects, server_sync=True), Client('y', raw)]
    return Checker(History(history), clients, len(MEMBERS)).check()


def test_nothing_is_wrong():
    assert errors_of() == []


def lose(history, objects, raw):
    del history[3]


def other_tid(history, objects, raw):
    raw[4][3] = tid(21)


def refused_and_there(history, objects, raw):
    objects[7] = ['no', 'x.0.0', 2, 'conflict']


def nobody(history, objects, raw):
    del objects[9:], objects[6:8]


def half(history, objects, raw):
    del history[2].records['a1']


def lost_update(history, objects, raw):
    history[4].records.update({m: member(1, chain_of('', 'x.0.0 2')) for m in MEMBERS})


def lost_raw_update(history, objects, raw):
    history[5].records[RAW] = b'1 y'


def not_checked(history, objects, raw):
    objects[2][4] = [[RAW, tid(1)]]


def stale(history, objects, raw):
    objects[5][2] = group(2, 0, '')


def too_new(history, objects, raw):
    objects[5][2] = group(30, 2, LATER)


def torn(history, objects, raw):
    objects[5][2][1] = ['a2', tid(2), 0, '', 0]


def other_state(history, objects, raw):
    for m in objects[5][2]:
        m[2] = 2


def short_group(history, objects, raw):
    objects[5][2].pop()


def goes_back(history, objects, raw):
    objects[4:6] = [['begin', 'x.0.0', 7, tid(0), tid(30), 1.0], ['begin', 'x.0.0', 7, tid(0), tid(29), 1.0]]


def without_its_own(history, objects, raw):
    objects[4][4] = tid(10)
    objects[5][2] = group(2, 0, '')


def without_anothers(history, objects, raw):
    objects[4][4] = tid(20)


def old_load(history, objects, raw):
    raw[0][4] = tid(20)


def wrong_age(history, objects, raw):
    raw[1][5] = [digest(b'1 y'), tid(20), tid(40)]


def wrong_end(history, objects, raw):
    raw[1][5][2] = tid(30)


def called_current(history, objects, raw):
    raw[1][5][2] = None


def wrong_data(history, objects, raw):
    raw[0][5][0] = digest(b'0')


def no_such_revision(history, objects, raw):
    raw[0][5][1] = tid(3)


def nothing_there(history, objects, raw):
    raw[1][5] = None


def wrong_serial(history, objects, raw):
    raw[5][4] = digest(b'0')


def failed(history, objects, raw):
    raw.append(['fail', 'y.0.0', 'a traceback'])


@pytest.mark.parametrize('change,text', [
    (lose, 'acknowledged as'), (other_tid, 'was told'), (refused_and_there, 'was told: conflict'),
    (nobody, 'nobody has committed'), (half, 'wrote'), (lost_update, 'group 0 goes from'),
    (lost_raw_update, 'goes from 1 to 1'), (not_checked, 'was checked to be'),
    (stale, 'and not of'), (too_new, 'and not of'), (torn, 'a torn group'),
    (other_state, 'and not (1'), (short_group, 'a group of 1'), (goes_back, 'after one of'),
    (without_its_own, 'of this process'), (without_anothers, 'was committed'),
    (old_load, 'ended at'), (wrong_age, 'it is'), (wrong_end, 'it ended at'),
    (called_current, 'called current'), (wrong_data, 'is not that of its revision'),
    (no_such_revision, 'no such revision'), (nothing_there, 'was there'),
    (wrong_serial, 'loadSerial'), (failed, 'a traceback'),
], ids=lambda x: x.__name__ if callable(x) else '')
def test_what_is_wrong_is_found(change, text):
    errors = errors_of(change)
    assert any(text in e for e in errors), errors
