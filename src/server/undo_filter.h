/* undoLog's descriptions of transactions, and what undoInfo compares them with: docs/protocol.md#undo
 * Pure functions over decoded values. Threads: any. */
#ifndef SERVER_UNDO_FILTER_H
#define SERVER_UNDO_FILTER_H

#include <stdbool.h>

#include "base/arena.h"
#include "codec/enc.h"
#include "codec/val.h"
#include "storage/storage.h"

/**
 * The dictionary that undoLog shows of a transaction: what is known of it, and its extension, which wins.
 * Parts of the extension that cannot be read, or not be written in @encoding, are left out.
 * @ret  lives in @arena, and borrows from @t
 * False: no memory.
 */
bool undo_describe(
	const struct txn_info *t, enum encoding encoding, struct arena *arena, struct val *ret);

/** Has @desc every key of dictionary @spec, with an equal value? A ZopeUndo Prefix equals every path below it. */
bool undo_matches(const struct val *desc, const struct val *spec);

#endif
