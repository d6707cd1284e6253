/* The pass phrase of a key, from a command. */
#ifndef BIN_PASS_PHRASE_H
#define BIN_PASS_PHRASE_H

#include "base/buf.h"
#include "base/compiler.h"
#include "base/err.h"

/**
 * Run @command with /bin/sh and wait for it, PROGRAM_TIMEOUT_US at most. The first line of its standard
 * output is the pass phrase; no text of an error has anything of its output.
 * @ret_phrase  an empty buffer; ends in a zero byte. pass_phrase_free() it, also after a failure.
 * Returns 0, ERR_INVAL (it failed, or printed nothing), ERR_TIMEOUT, ERR_IO, ERR_NOMEM.
 */
MUST_CHECK int pass_phrase_run(const char *command, struct buf *ret_phrase, struct err *e);

/** Wipe and free it. */
void pass_phrase_free(struct buf *phrase);

#endif
