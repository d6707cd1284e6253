/* A client whose servers are those registered at a path in ZooKeeper.
 *
 * At the start: ZooKeeper that cannot be reached is an error at once (ERR_TIMEOUT, "Can't connect to ZooKeeper at ..."); so is a path
 * that is not there (ERR_NOENT). An empty list is waited for, with the warnings "No addresses from <CONNECTION PATH>" (again every five
 * minutes) and "OK: Got addresses from <...>"; or not, where the options say so. Later: each change is an INFO line with the sorted list;
 * an empty list a warning once, "OK: Addresses from <...>" when it ends; ZooKeeper that goes away changes nothing (T38, T76).
 * A child whose name is no address is passed over with a warning. Logger: "zc.zkzeo". */
#ifndef CLIENT_FINDER_H
#define CLIENT_FINDER_H

#include "client/client.h"
#include "zookeeper/watch.h"

struct finder;

/**
 * Follow @path.
 * @connection  HOST:PORT,...; NULL: the environment's ZC_ZK_CONNECTION_STRING, or 127.0.0.1:2181
 * @wait        return when there is an address
 * @stop        asked with the events' arg while waiting, some times a second, with no lock held; true: give up with ERR_CLOSED.
 *              NULL: never
 * @events      its log() only; runs with the finder's order lock held: nothing of the finder may be called there. NULL: none
 * Returns 0; ERR_TIMEOUT, ERR_NOENT; ERR_INVAL (no connection string, no path), ERR_LIMIT, ERR_CLOSED, ERR_NOMEM.
 */
MUST_CHECK int finder_open(const char *connection, const char *path, bool wait,
	bool (*stop)(void *arg), const struct client_events *events, struct finder **ret,
	struct err *e);
/** The addresses now; the caller frees *ret with mem_free(). */
MUST_CHECK int finder_addresses(
	struct finder *f, struct address **ret, size_t *ret_n, struct err *e);
/** From now on @c gets what there is, and each change. Once. */
MUST_CHECK int finder_attach(struct finder *f, struct client *c, struct err *e);
/** The client is closed after it. NULL is fine. */
void finder_close(struct finder *f);

#endif
