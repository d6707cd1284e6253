/* A program whose output is an answer: run in a process group of its own, within a time limit. */
#ifndef MONITOR_PROGRAM_H
#define MONITOR_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/err.h"

struct program {
	pid_t pid;
	int output; /* non-blocking; -1 at its end */
	int exited; /* a pidfd: readable when the program has ended */
	uint64_t deadline_us;
	bool overdue, overlong;
};

enum { PROGRAM_TIMEOUT_US = 10 * 1000 * 1000, PROGRAM_OUTPUT_MAX = 1 << 20 };

/**
 * Start @argv (argv[0] with a '/' or from PATH). It gets /dev/null as input, its two outputs come
 * together, and inherits nothing else: no descriptor, no blocked or ignored signal.
 * Returns 0, ERR_NOENT or ERR_IO.
 */
MUST_CHECK int program_start(
	char *const *argv, uint64_t now_us, struct program *ret, struct err *e);

/** Take what it wrote. Returns true when it ended or must (time, output limit): program_end(). */
bool program_step(struct program *p, struct buf *out, uint64_t now_us);

/** Kill what is left of its process group, reap it, and add a line to @out when it did not end
 * well. @out may be NULL. */
void program_end(struct program *p, struct buf *out);

#endif
