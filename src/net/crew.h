/* Event loops that share a thread while one thread is enough.
 *
 * As many threads as processors are good for a server that has that much to do. With less to do they cost: each request
 * wakes a thread that handles just that one, and they take the processors from each other, from the log writer and from
 * clients on the same machine. So the first loop of a crew, the host, runs the others, its guests, on its own thread, in
 * the midst of its own turns, until those get long: then a guest goes to a thread of its own, and comes back
 * when it had next to nothing to do for a while.
 *
 * Whoever belongs to a loop need not know: what a loop calls, it calls on one thread at a time, and sees
 * all that was done before. */
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
	/* Work of one turn, about requests, about microseconds: on average more, and a guest has to go. */
	CREW_TURN_MAX = 40,
	/* A guest with less work in a millisecond comes back, ... */
	CREW_REST_PER_MS = 16,
	/* ... when that was so for this time. */
	CREW_REST_MS = 16,
};

struct crew {
	pthread_mutex_t lock;    /* guards the seats' place, closed; docs/threads.md */
	struct crew_seat *seats; /* the first is the host's */
	struct crew_seat **end;
	bool closed;        /* the host ends: nobody comes back */
	unsigned turn_work; /* the guests', of the host's turn; host's thread */
	unsigned average;   /* of the work of the host's turns, in sixteenths; host's thread */
	atomic_bool busy;   /* the host has no time for one more */
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
	sem_t own;            /* its thread may run it */
	struct job back;      /* it is to be hosted again */
	uv_poll_t poll;       /* the host's: something happened in the guest's loop */
	uv_timer_t timer;     /* the host's: it is time for the guest's next timer */
	bool watches_changed; /* whoever runs it */
	uint64_t since_ms;    /* when what was counted in work began; whoever runs it */
	uint64_t work;
};

void crew_init(struct crew *c);
/** All loops have ended. */
void crew_fini(struct crew *c);

/** @l, not started yet, is the next loop of the crew, the first one the host. The host is started first. @s stays valid
 * until crew_fini(). Returns 0 or ERR_IO. */
MUST_CHECK int crew_join(struct crew *c, struct crew_seat *s, struct loop *l, struct err *e);

/** At the end of a turn of the loop, in which it had so much to do. */
void crew_turn(struct crew_seat *s, unsigned work);
/** A watcher of the loop was started, stopped or changed: libuv tells the kernel at the start of the next turn only. */
void crew_watches_changed(struct crew_seat *s);
/** The loop closes its handles: a host's guests go. On the loop's thread, or when it was not started. */
void crew_leave(struct crew_seat *s);

#endif
