/* Blobs: what clients of ours store goes to the server, what they ask for comes from it by way of a cache. */
#include "fanout/core.h"

int fan_blobs_open(struct fanout *f, const struct fanout_options *o, struct err *e)
{
	(void)f;
	return o->blob_dir ? err_set(e, ERR_UNSUPPORTED,
				     "'blob-dir' of a storage of another server is not offered yet")
			   : OK;
}

void fan_blobs_close(struct fanout *f)
{
	(void)f;
}

int fan_blobs_say(struct fanout *f, struct client_txn *up, const struct txn *t, struct err *e)
{
	(void)f;
	(void)up;
	(void)e;
	(void)t;
	return OK;
}
