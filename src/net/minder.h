/* A loop whose thread may go on errands: another thread minds the loop meanwhile.
 *
 * What blocks is done elsewhere, and the loop is woken when it is done: two threads wake up. When nothing else happens, as when
 * a single client commits, that is up to a tenth of the time, and of the CPU time more (docs/performance.md). So the loop's thread
 * goes and does it itself, after the turn, while a second thread watches the loop. If something happens to the loop meanwhile, the
 * second thread takes it over and runs it from then on; the first one, when it comes back, watches in its place.
 *
 *   HOME -> AWAY (an errand) -> HOME (nothing has happened)
 *             '-> TAKEN (the other thread runs the loop) -> HOME (the first is back, and watches)
 *   any -> ENDED (the loop has ended)
 *
 * Whoever belongs to the loop need not know: what a loop calls, it calls on one thread at a time, and sees all
 * that was done before. */
#ifndef NET_MINDER_H
#define NET_MINDER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "base/errand.h"
#include "net/loop.h"

enum {
	/* The loop's timers may be late by up to twice that, if an errand takes so long and nothing else happens. */
	MINDER_LOOK_MS = 50,
	/* No errands after one in which something happened, as others are busy, and a thread was woken all the same: for so long at
	 * first, twice as long the next time ... until so many have gone well. */
	MINDER_REST_MS = 16,
	MINDER_REST_MAX_MS = 1024,
	MINDER_GONE_WELL = 64,
};

enum minder_place {
	MINDER_HOME,
	MINDER_AWAY,
	MINDER_TAKEN,
	MINDER_ENDED,
};

struct minder {
	struct loop *loop;
	atomic_int place; /* enum minder_place: of who ran the loop last */
	int epoll; /* what the watching thread waits for: the loop's epoll, while AWAY, and: */
	int timer;
	atomic_bool timer_runs;
	atomic_uint n_errands;
	pthread_t thread; /* the second one; the first is the loop's */
	bool started;
	/* of who runs the loop: */
	struct errand_taker taker;
	struct errand *errand;  /* to be done after the turn */
	uint64_t rest_until_ms; /* by uv_now() */
	unsigned rest_ms;
	unsigned n_well;
};

/** To be called before @l is started, and ended by minder_stop(). Returns 0 or ERR_IO. */
MUST_CHECK int minder_start(struct minder *m, struct loop *l, struct err *e);
/** After the loop's loop_join(), or when it could not be started. Nothing when minder_start() was not called, and @m is zeros. */
void minder_stop(struct minder *m);

#endif
