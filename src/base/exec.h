/* Work that may block goes to a pool and comes back on the loop that sent it. */
#ifndef BASE_EXEC_H
#define BASE_EXEC_H

struct exec;

enum { JOB_ROOM = 144 };

/** Owned by the submitter; stays valid until done() was called. */
struct job {
	void (*work)(struct job *j); /* on a pool thread; may block; holds no lock */
	void (*done)(struct job *j); /* later, on the loop of the exec it was submitted to */
	void *link;                  /* the exec's own */
	_Alignas(16) unsigned char room[JOB_ROOM]; /* the exec's own: no allocation per job */
};

/** The shell has one for each event loop (a thread pool behind it), the
 * simulation one that runs jobs in an order its seed decides. */
struct exec {
	/** Never fails, never calls work() or done() before it returns. Threads: the exec's loop. */
	void (*submit)(struct exec *x, struct job *j);
	/** What was done elsewhere comes back: j->done(j) is called on the exec's loop; j->work is not, and is cleared.
	 * Never fails. Threads: any, while the loop waits for it. */
	void (*post)(struct exec *x, struct job *j);
};

#endif
