/* Event loops that share a thread while one thread is enough.
 *
 * As many threads as processors are good for a server that has that much to do. With less to do they cost: each request
 * wakes a thread that handles just that one, and they take the processors from each other, from the log writer and from
 * clients on the same machine. So the first loop of a crew, the host, runs the others, its guests, on its own thread, in
 * the midst of its own turns. A guest goes to a thread of its own when turns get long, or when the host's thread is busy and
 * there are processors to spare; it comes back when it has nobody to serve, had next to nothing to do for a while, or
 * when it turns out that one thread would have done: all of the server's used less than a processor, and there is none to spare.
 *
 * Whoever belongs to a loop need not know: what a loop calls, it calls on one thread at a time, and sees
 * all that was done before. Only the thread's name may be another one. */
#ifndef NET_CREW_H
#define NET_CREW_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/exec.h"
#include "net/loop.h"

enum {
	/* Work of a turn in which several loops had some: on average more, and a guest has to go. A request that others are
	 * handled with is about one, and takes about a microsecond. */
	CREW_TURN_MAX = 64,
	CREW_LOOK_MS = 16, /* the time over which a thread is said to be busy, or not */
	/* So many such times in a row the server used less than a processor: one thread would have done. */
	CREW_ENOUGH = 4,
	/* Then nobody goes because turns are long: for so long at first, twice as long the next time. */
	CREW_REST_MS = 64,
	CREW_REST_MAX_MS = 1024,
	/* It begins anew when the guest was away for so many of those times before, or the rest before was over for so long. */
	CREW_WELL = 64,
	CREW_FORGET_MS = 4096,
};

struct crew {
	pthread_mutex_t lock;    /* guards the seats' place, closed; docs/threads.md */
	struct crew_seat *seats; /* the first is the host's */
	struct crew_seat **end;
	bool closed; /* the host ends: nobody comes back */
	unsigned cpus;
	/* of the host's thread: */
	bool shared;       /* several loops had work in the turn before */
	unsigned n_shared; /* such turns since looked_ms */
	unsigned average;  /* of the work of such turns, in sixteenths */
	uint64_t looked_ms;
	pthread_t thread;       /* it was then; minder.h */
	uint64_t cpu_us;        /* used by the thread until then */
	uint64_t all_cpu_us;    /* and by all threads */
	uint64_t rest_until_ms; /* by uv_now() */
	unsigned rest_ms;
	/* The host has no time for one more until then, by uv_now(). Threads: any. */
	atomic_uint_fast64_t busy_until_ms;
};

enum crew_place {
	CREW_OWN, /* on its own thread */
	CREW_RETURNING,
	CREW_HOSTED,
};

struct crew_seat {
	struct crew *crew; /* NULL: the loop is of no crew, and what is called here does nothing */
	struct loop *loop;
	struct crew_seat *next;
	/* a guest's only: */
	enum crew_place place;
	sem_t own;       /* its thread may run it */
	struct job back; /* it is to be hosted again */
	/* the host's, for what the guest waits for: an event, its next timer, the host's next turn */
	uv_poll_t poll;
	uv_timer_t timer;
	uv_idle_t again;
	unsigned work;      /* of the host's turn at hand */
	unsigned lately;    /* and of those since the host looked */
	uint64_t looked_ms; /* on its own thread: as the host's */
	uint64_t cpu_us;
	uint64_t all_cpu_us;
	unsigned n_looks;
	unsigned n_enough; /* the last of them, said that one thread would have done */
};

void crew_init(struct crew *c);
/** All loops have ended. */
void crew_fini(struct crew *c);

/** @l, not started yet, is the next loop of the crew, the first one the host. The host is started first, and its loop_fini() comes
 * before the guests'. @s stays valid until crew_fini(). Returns 0 or ERR_IO. */
MUST_CHECK int crew_join(struct crew *c, struct crew_seat *s, struct loop *l, struct err *e);

/** At the end of a turn of the loop, in which it had so much to do. @idle: nobody is there whom it could serve. True: other loops on its
 * thread had something to do in theirs. */
bool crew_turn(struct crew_seat *s, unsigned work, bool idle);
/** The loop closes its handles: a host's guests go. On the loop's thread, or when it was not started. A host that ends without it
 * leaves its guests waiting for ever. */
void crew_leave(struct crew_seat *s);

#endif
