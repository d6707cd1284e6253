/* A data record is two pickles with one memo: the object's class, and its state. */
#ifndef CODEC_RECORD_H
#define CODEC_RECORD_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/slice.h"
#include "codec/enc.h"
#include "codec/val.h"

/** The name of the class, "module\nname", and what its instances are made from (NULL: nothing); false when the class
 * has no name. @class is what the first pickle holds. Borrows from @arena and @class. */
bool record_class(const struct val *class, struct arena *arena, struct slice *ret,
	const struct val **ret_args);

/** Many references name one class: it is written once and remembered. */
struct record_writer {
	struct enc en;
	size_t head; /* where the pickle begins */
	bool old; /* set before its end: the pickle says protocol 2, and may have names of Python 2's modules */
	struct slice globals[64];
	uint8_t n_globals;
};

/** Begin a record that is appended to @out; check buf_ok() at its end. Slices that are written live until then. */
void record_begin(struct record_writer *w, struct buf *out);
/** The first pickle is complete: the state follows. */
void record_next(struct record_writer *w);
void record_finish(struct record_writer *w);

/** "module\nname" */
void record_put_global(struct record_writer *w, struct slice name);
/** Any value, references and objects included. */
void record_put(struct record_writer *w, const struct val *v);

/** A whole record. */
void record_write(const struct val *class, const struct val *state, struct buf *out);

#endif
