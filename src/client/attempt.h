/* From an address to a registered connection. All of it on the I/O thread.
 *
 *   WAITING -> LOOKING_UP -> CONNECTING -> (SHAKING_HANDS) -> GREETING -> REGISTERING -> won
 *      ^            |             |                |              |            |
 *      +------------+-------------+----------------+--------------+------------+
 *
 * What a server says belongs to its attempt until that has won (T6). */
#ifndef CLIENT_ATTEMPT_H
#define CLIENT_ATTEMPT_H

#include "client/state.h"

/** Try @a, after @delay_ms, again and again until it has won or is cancelled. */
MUST_CHECK int attempt_start(
	struct client *c, const struct address *a, uint32_t delay_ms, struct err *e);
/** Give it up. It is out of client.attempts at once. */
void attempt_cancel(struct attempt *a);
const struct address *attempt_address(const struct attempt *a);
struct attempt *attempt_next(const struct attempt *a);

/* ---- of its connection ---- */

/** The socket's events are for attempt_event(). */
bool attempt_wants_events(const struct attempt *a);
/** ... and that it can be written to is waited for: it connects. */
bool attempt_wants_writable(const struct attempt *a);
void attempt_event(struct attempt *a);
/** The server's first frame. */
MUST_CHECK int attempt_hello(struct attempt *a, struct slice content, struct err *e);
/** Its connection has ended. */
void attempt_lost(struct attempt *a, const struct err *why);

/** @base and half of it at least: so that clients do not come all at once. */
uint32_t client_jitter(struct client *c, uint32_t base_ms);

#endif
