#include "base/guarded.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

static _Thread_local sigjmp_buf *guard;
static struct sigaction before;

static void on_sigbus(int sig)
{
	sigjmp_buf *to = guard;

	if (to) {
		guard = NULL;
		siglongjmp(*to, 1);
	}
	sigaction(sig, &before, NULL); /* not ours: it happens again, and is theirs */
}

void guarded_init(void)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct sigaction sa = { .sa_handler = on_sigbus };
	struct sigaction now;

	pthread_mutex_lock(&lock);
	if (sigaction(SIGBUS, NULL, &now) == 0 && now.sa_handler != on_sigbus) {
		before = now;
		sigaction(SIGBUS, &sa, NULL);
	}
	pthread_mutex_unlock(&lock);
}

/* The jump left the handler with the signal blocked. */
static void unblock(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGBUS);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

bool guarded_run(void (*step)(void *arg), void *arg)
{
	sigjmp_buf here;

	if (sigsetjmp(here, 0)) {
		unblock();
		return false;
	}
	guard = &here;
	atomic_signal_fence(memory_order_seq_cst);
	step(arg);
	atomic_signal_fence(memory_order_seq_cst);
	guard = NULL;
	return true;
}
