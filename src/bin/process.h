/* What a server asks of its process: signals, descriptors. */
#ifndef BIN_PROCESS_H
#define BIN_PROCESS_H

#include <stdbool.h>

/** Block the signals we wait for, before the first thread starts, so that all threads inherit it
 * and one place takes them (T41, T75). SIGPIPE and SIGXFSZ become errors of the calls. */
void process_block_signals(void);

/** Wait for the next one of them: SIGTERM, SIGINT, SIGHUP or SIGUSR2. */
int process_wait_signal(void);

/** Has one come that ends the process, and waits to be taken? Threads: any. */
bool process_is_to_end(void);

/** As many descriptors as we are allowed: each client takes one. */
void process_raise_limits(void);

/** Threads of the pool for what can block, unless UV_THREADPOOL_SIZE of the environment says how many: a
 * few wait for long (a search through a large file, a conflict's process), reads of a cold disk are more
 * the more of them are under way. Before the pool's first job. */
void process_size_pool(void);

#endif
