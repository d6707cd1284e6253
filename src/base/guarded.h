/* Reading and writing mapped files whose pages may be gone: the disk fails or is full, somebody truncated the file. The
 * system says so with SIGBUS, which ends the step under way with a jump; the caller goes on without it. */
#ifndef BASE_GUARDED_H
#define BASE_GUARDED_H

#include <stdbool.h>

#include "base/compiler.h"

/** Before the first guarded_run(), and when somebody may have taken the signal meanwhile. A SIGBUS that is not ours goes to the handler there was before. */
void guarded_init(void);

/**
 * Run @step. It may be left at any instruction: it takes no lock and allocates nothing. Steps do not nest.
 * Returns false when it met a page that is not there.
 */
MUST_CHECK bool guarded_run(void (*step)(void *arg), void *arg);

#endif
