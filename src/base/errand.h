/* What blocks for a short time, done by the very thread that wants it done: where two threads that wake each other
 * up would cost as much as the thing itself. Who runs an event loop can do that if somebody minds the loop meanwhile
 * (net/minder.h). */
#ifndef BASE_ERRAND_H
#define BASE_ERRAND_H

#include <stdbool.h>

/** Owned by who leaves it; stays valid until run() has returned. */
struct errand {
	void (*run)(struct errand *er); /* may block */
};

/** Who takes errands. */
struct errand_taker {
	bool (*take)(struct errand_taker *t, struct errand *er);
};

/** Leave @er to this thread. True: er->run() is called on it, soon, when it has ended what it is at. False: it takes none now,
 * and somebody else has to do it. Threads: any. */
bool errand_leave(struct errand *er);

/** From here on @t takes what is left to this thread; NULL: nobody does, as at first. */
void errand_set_taker(struct errand_taker *t);

#endif
