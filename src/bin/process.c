#include "bin/process.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

static void signal_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGUSR2);
}

void process_block_signals(void)
{
	sigset_t set;

	signal_set(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
}

int process_wait_signal(void)
{
	sigset_t set;
	int sig;

	signal_set(&set);
	do
		sig = sigwaitinfo(&set, NULL);
	while (sig < 0);
	return sig;
}

bool process_is_to_end(void)
{
	sigset_t set;

	return sigpending(&set) == 0 && (sigismember(&set, SIGTERM) || sigismember(&set, SIGINT) ||
						sigismember(&set, SIGHUP));
}

void process_raise_limits(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

void process_size_pool(void)
{
	setenv("UV_THREADPOOL_SIZE", "16", 0);
}
