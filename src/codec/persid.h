/* What names a persistent object in a record: the forms of ZODB's persistent ids. docs/format.md */
#ifndef CODEC_PERSID_H
#define CODEC_PERSID_H

#include <stdbool.h>

#include "codec/val.h"

struct persid {
	const struct val
		*oid; /* VAL_BYTES, or VAL_STR of ASCII as Python 2 wrote them; any length */
	const struct val *class;    /* what names the class; NULL: not said */
	const struct val *database; /* VAL_STR; NULL: the same one */
	bool weak;
};

/**
 * Take a VAL_PERSID apart: (oid, class), oid, ['m', (database, oid, class)], ['n', (database, oid)],
 * ['w', (oid[, database])], [oid]. Borrows from @v.
 * False when ZODB would not understand it.
 */
bool persid_parse(const struct val *v, struct persid *ret);

#endif
