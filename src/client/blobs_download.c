/* Blobs that the server sends: who waits for one has its file open, the thread that reads the connection writes to it. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/bigendian.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "client/blobs_core.h"
#include "client/state.h"

static void enter(struct blobs *b, struct download *d)
{
	pthread_mutex_lock(&b->lock);
	d->next = b->downloads;
	b->downloads = d;
	pthread_mutex_unlock(&b->lock);
}

static struct val id_of(uint8_t room[8], uint64_t id)
{
	put_be64(room, id);
	return (struct val){ .type = VAL_BYTES, .s = { room, 8 } };
}

/* NULL: nothing of that blob is on its way to nobody. Under the lock. */
static struct unwanted **find_unwanted(struct blobs *b, uint64_t oid, uint64_t serial)
{
	struct unwanted **p = &b->unwanted;

	while (*p && ((*p)->oid != oid || (*p)->serial != serial))
		p = &(*p)->next;
	return *p ? p : NULL;
}

static void remove_unwanted(struct unwanted **p)
{
	struct unwanted *u = *p;

	*p = u->next;
	mem_free(u);
}

/* The rest of it comes all the same. Under the lock. */
static bool note_unwanted(struct blobs *b, const struct download *d)
{
	struct unwanted *u = mem_alloc(sizeof(*u));

	if (!u)
		return false;
	*u = (struct unwanted){ .next = b->unwanted, .oid = d->oid, .serial = d->serial };
	u->generation = client_generation(b->client);
	b->unwanted = u;
	return true;
}

/* Nobody writes to it any more. */
static void leave(struct blobs *b, struct download *d)
{
	struct download **p = &b->downloads;
	bool ok;

	pthread_mutex_lock(&b->lock);
	while (d->busy)
		pthread_cond_wait(&b->changed, &b->lock);
	while (*p != d)
		p = &(*p)->next;
	*p = d->next;
	ok = !d->given_up || d->complete || note_unwanted(b, d);
	pthread_mutex_unlock(&b->lock);
	if (!ok)
		client_drop(b->client, "no memory to pass over the rest of a blob");
}

/* Nobody can tell the rest of one that was given up from the same blob sent once more: with another connection there is
 * no rest. */
static void drop_rest(struct blobs *b, uint64_t oid, uint64_t serial)
{
	struct unwanted **p;
	bool comes = false;

	pthread_mutex_lock(&b->lock);
	while ((p = find_unwanted(b, oid, serial))) {
		comes |= (*p)->generation == client_generation(b->client);
		remove_unwanted(p);
	}
	pthread_mutex_unlock(&b->lock);
	if (comes)
		client_drop(b->client, "a blob is wanted again of which it still sends the rest");
}

static int ask(struct blobs *b, struct download *d, struct err *e)
{
	struct call k = { 0 };
	uint8_t ids[2][8];
	struct val args[2] = { id_of(ids[0], d->oid), id_of(ids[1], d->serial) };
	int rc = client_call(b->client, &k, "sendBlob", args, 2, 0, e);

	d->given_up = rc == ERR_INTERRUPTED && k.id; /* else it was not sent */
	call_end(&k);
	return rc;
}

/* What is whole gets its name when it is on the disk, and cannot be written any more: B1. */
static int publish(const struct download *d, const char *from, const char *to, struct err *e)
{
	int rc = os_fdatasync(d->fd, e);

	if (rc == OK)
		rc = os_fchmod(d->fd, 0400, e);
	return rc == OK ? os_rename(from, to, e) : rc;
}

int blobs_download(struct blobs *b, uint64_t oid, uint64_t serial, const char *path, struct err *e)
{
	struct download d = { .oid = oid, .serial = serial, .fd = -1 };
	char part[PATH_MAX];
	int rc;

	if (snprintf(part, sizeof(part), "%s.dl", path) >= (int)sizeof(part))
		return err_set(e, ERR_LIMIT, "the name of a blob file is too long");
	(void)!os_unlink(part, NULL); /* what somebody could not finish: its folder is ours now */
	rc = os_open(part, O_RDWR | O_CREAT | O_EXCL, &d.fd, e);
	if (rc != OK)
		return rc;
	drop_rest(b, oid, serial);
	enter(b, &d);
	rc = ask(b, &d, e);
	leave(b, &d);
	if (rc == OK && d.rc != OK) {
		rc = d.rc;
		if (e)
			*e = d.err;
	}
	if (rc == OK && !d.complete)
		rc = err_set(e, ERR_NOKEY, "No blob file at %s", path);
	if (rc == OK)
		rc = publish(&d, part, path, e);
	if (rc != OK)
		(void)!os_unlink(part, NULL);
	os_close(d.fd);
	if (rc == OK)
		blobs_grown(b, d.size);
	return rc;
}

void blobs_end_unwanted(struct blobs *b)
{
	while (b->unwanted)
		remove_unwanted(&b->unwanted);
}

/* --- on the thread that reads --- */

static struct download *find(struct blobs *b, uint64_t oid, uint64_t serial)
{
	struct download *d = b->downloads;

	while (d && (d->oid != oid || d->serial != serial))
		d = d->next;
	return d;
}

static void take_chunk(struct download *d, struct slice chunk)
{
	if (d->rc != OK)
		return;
	d->rc = os_pwrite(d->fd, chunk.data, chunk.len, d->size, &d->err);
	d->size += chunk.len;
}

static void start(struct download *d)
{
	d->rc = os_ftruncate(d->fd, 0, &d->err);
	d->size = 0;
	d->complete = false;
}

static bool is_id(const struct val *v)
{
	return v->type == VAL_BYTES && v->s.len == 8;
}

void blobs_receive(void *arg, struct slice name, const struct val *args, uint32_t n_args)
{
	struct blobs *b = arg;
	bool chunk = slice_is(name, "receiveBlobChunk");
	bool stop = slice_is(name, "receiveBlobStop");
	struct unwanted **u = NULL;
	struct download *d = NULL;

	if (!chunk && !stop && !slice_is(name, "receiveBlobStart")) {
		blobs_log(b, LOG_ERROR, CLIENT_IO_LOGGER,
			"the server calls '%.*s', which this client does not know", (int)name.len,
			name.data);
		return;
	}
	if (n_args != (chunk ? 3 : 2) || !is_id(&args[0]) || !is_id(&args[1]) ||
		(chunk && args[2].type != VAL_BYTES)) {
		client_drop(b->client, "it sends a blob that is none");
		return;
	}
	pthread_mutex_lock(&b->lock);
	d = find(b, get_be64(args[0].s.data), get_be64(args[1].s.data));
	if (d)
		d->busy = true;
	else if (stop)
		u = find_unwanted(b, get_be64(args[0].s.data), get_be64(args[1].s.data));
	if (u)
		remove_unwanted(u);
	pthread_mutex_unlock(&b->lock);
	if (!d)
		return; /* who wanted it has given up */
	if (chunk)
		take_chunk(d, args[2].s);
	else if (stop)
		d->complete = true;
	else
		start(d);
	pthread_mutex_lock(&b->lock);
	d->busy = false;
	pthread_cond_broadcast(&b->changed);
	pthread_mutex_unlock(&b->lock);
}
