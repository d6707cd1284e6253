/* One connection to the monitor: a line in, an answer out, and the end; or, interactive, many. */
#ifndef MONITOR_CONNECTION_H
#define MONITOR_CONNECTION_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "monitor/commands.h"
#include "monitor/program.h"

enum { MONITOR_LINE_MAX = 1024, CONNECTION_POLLS = 3 };

struct connection {
	int fd;
	/* READING -> RUNNING (a program) -> WRITING -> READING | closed */
	enum { CONNECTION_READING, CONNECTION_RUNNING, CONNECTION_WRITING } state;
	bool interactive;
	bool peer_done;                /* it sends no more */
	char in[MONITOR_LINE_MAX + 1]; /* what came and is not a whole line yet */
	size_t in_len;
	char last[MONITOR_LINE_MAX + 1]; /* what an empty line repeats */
	struct buf out;
	size_t out_sent;
	struct program program; /* while RUNNING */
	uint64_t deadline_us;   /* nothing happened until then: close */
};

/** Take @fd (non-blocking) over. */
void connection_init(struct connection *c, int fd, uint64_t now_us);
/** Kill what runs, and close. */
void connection_close(struct connection *c);
/** What to wait for: fills CONNECTION_POLLS entries, unused ones with fd -1. */
void connection_polls(const struct connection *c, struct pollfd *polls);
/** Go on as far as possible. Returns false when it is over: connection_close(). */
bool connection_step(struct connection *c, struct commands *t, uint64_t now_us);
/** When connection_step() is wanted at the latest. */
uint64_t connection_deadline(const struct connection *c);

#endif
