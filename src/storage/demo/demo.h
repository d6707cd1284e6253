/* DemoStorage: changes on top of a base, which stays as it is.
 *
 * I1  The base never changes while it is one: what it has is seen whatever the applied tid.
 * I2  Every tid of the changes made here is newer than all of the base's (R4).
 * I3  Publications, sizes and undo are those of the changes.
 *
 * ZODB's DemoStorage has one lock for all transactions; here the caller's queue keeps those apart that name
 * the same objects, which is as much as the comparison with the base needs. */
#ifndef STORAGE_DEMO_H
#define STORAGE_DEMO_H

#include "base/compiler.h"
#include "base/err.h"
#include "storage/storage.h"

struct demo_options {
	const char *name; /* NULL: made of those of base and changes */
	struct storage *base;
	struct storage *changes;
	/** Where the search for an oid that is new in both begins; random, so that changes thrown away and
	 * begun anew, or two sets of changes on one base, seldom give the same. */
	uint64_t first_oid;
	const char *
		temporary_dir; /* removed with what is in it when the storage is closed; NULL: none */
};

/** @o's base and changes become its own, which closes them; on failure they stay the caller's. */
MUST_CHECK int demo_open(const struct demo_options *o, struct storage **ret, struct err *e);

#endif
