/* What a queue holds goes out over a socket in order, plain and encrypted: memory, and pieces of
 * files that are never read as a whole. */
#include "cmocka_all.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "server/transport.h"
#include "tls_client.h"

enum { FILE_LEN = 1 << 20 };

static uint8_t content[FILE_LEN];
static uint8_t want[4 * FILE_LEN], got[4 * FILE_LEN];

struct link {
	struct transport t;
	struct tls_context *context;
	SSL *client; /* NULL: plain */
	int fd;      /* the other side */
	uint8_t scratch[TRANSPORT_SCRATCH];
};

static void link_open(struct link *l, bool encrypted)
{
	struct err e = ERR_INIT;
	int fds[2];
	int rc = ERR_AGAIN;

	connect_pair(fds);
	l->fd = fds[1];
	l->context = encrypted ? server_context() : NULL;
	l->client = encrypted ? client_new(fds[1], "client") : NULL;
	assert_int_equal(transport_init(&l->t, fds[0], l->context, l->scratch, &e), OK);
	assert_int_equal(transport_is_ready(&l->t), !encrypted);
	for (int i = 0; i < 20 && rc == ERR_AGAIN; i++) {
		if (encrypted)
			SSL_do_handshake(l->client);
		rc = transport_handshake(&l->t, &e);
	}
	assert_int_equal(rc, OK);
	assert_true(transport_is_ready(&l->t));
}

static void link_close(struct link *l)
{
	transport_fini(&l->t);
	SSL_free(l->client);
	close(l->fd);
	tls_context_free(l->context);
}

/* Read what is there, at most @n bytes; 0: nothing. */
static size_t take(struct link *l, uint8_t *p, size_t n)
{
	ssize_t r = l->client ? SSL_read(l->client, p, (int)n) : read(l->fd, p, n);

	return r > 0 ? (size_t)r : 0;
}

static void put(struct outq *q, const void *data, size_t n)
{
	struct buf *b = outq_buf(q);
	size_t before = b->len;

	buf_put(b, data, n);
	outq_appended(q, b, before);
}

static struct shared_file *file_of(size_t n)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, n), n);
	return shared_file_new(fd);
}

static int fill(void **state)
{
	for (size_t i = 0; i < FILE_LEN; i++)
		content[i] = (uint8_t)(i * 31 + i / 257);
	return pki_setup(state);
}

/* Append to the queue and to `want`, whose length is *n. */
static void add_memory(struct outq *q, size_t len, size_t *n)
{
	put(q, content + *n % 1000, len);
	memcpy(want + *n, content + *n % 1000, len);
	*n += len;
}

static void add_file(struct outq *q, struct shared_file *f, size_t off, size_t len, size_t *n)
{
	outq_file(q, f, off, len);
	memcpy(want + *n, content + off, len);
	*n += len;
}

/* The other side reads only when nothing more can be sent, and then a little. */
static void run(bool encrypted)
{
	struct shared_file *f = file_of(FILE_LEN);
	struct outq q = { 0 };
	struct link l;
	size_t n = 0, n_got = 0, waited = 0;

	link_open(&l, encrypted);
	add_memory(&q, 9, &n);
	add_file(&q, f, 0, FILE_LEN, &n);
	add_memory(&q, 3, &n);
	for (int i = 0; i < 100; i++) { /* small messages, and one that is large */
		add_memory(&q, i == 50 ? 200000 : (size_t)i * 37 % 1000, &n);
		if (i % 10 == 0)
			add_file(&q, f, (size_t)i * 1000, (size_t)i * 300 + 1, &n);
	}
	while (n_got < n) {
		struct err e = ERR_INIT;
		size_t sent = 0;
		int rc = outq_empty(&q) ? ERR_AGAIN : transport_send(&l.t, &q, &sent, &e);

		if (rc == OK) {
			outq_sent(&q, sent);
			continue;
		}
		assert_int_equal(rc, ERR_AGAIN);
		waited++;
		n_got += take(&l, got + n_got, 50000);
	}
	assert_true(waited > 5);
	assert_true(outq_empty(&q));
	assert_int_equal(n_got, n);
	assert_memory_equal(got, want, n);
	outq_free(&q);
	shared_file_unref(f);
	link_close(&l);
}

static void test_plain(void **state)
{
	run(false);
}

static void test_encrypted(void **state)
{
	run(true);
}

/* A file is sent in pieces: nobody waits for all of it to come from the disk. */
static void test_pieces(void **state)
{
	for (int encrypted = 0; encrypted < 2; encrypted++) {
		struct shared_file *f = file_of(FILE_LEN);
		struct outq q = { 0 };
		struct err e = ERR_INIT;
		struct link l;
		size_t sent = 0;

		link_open(&l, encrypted);
		outq_file(&q, f, 0, FILE_LEN);
		assert_int_equal(transport_send(&l.t, &q, &sent, &e), OK);
		assert_true(sent > 0 && sent <= 64 << 10);
		outq_free(&q);
		shared_file_unref(f);
		link_close(&l);
	}
}

/* What was announced cannot be sent any more: the connection is of no use. */
static void test_a_file_that_became_shorter(void **state)
{
	for (int encrypted = 0; encrypted < 2; encrypted++) {
		struct shared_file *f = file_of(5000);
		struct outq q = { 0 };
		struct err e = ERR_INIT;
		struct link l;
		size_t sent;
		int rc;

		link_open(&l, encrypted);
		outq_file(&q, f, 1000, 4000);
		assert_int_equal(ftruncate(f->fd, 2000), 0);
		while ((rc = transport_send(&l.t, &q, &sent, &e)) == OK)
			outq_sent(&q, sent);
		assert_int_equal(rc, ERR_CORRUPT);
		assert_string_equal(
			e.text, "a file being sent ends at 2000: 3000 more bytes were expected");
		outq_free(&q);
		shared_file_unref(f);
		link_close(&l);
	}
}

static void test_input(void **state)
{
	for (int encrypted = 0; encrypted < 2; encrypted++) {
		uint8_t room[128 << 10];
		struct pollfd p = { .events = POLLIN };
		struct err e = ERR_INIT;
		struct link l;
		size_t n = 0, more;

		link_open(&l, encrypted);
		assert_int_equal(transport_recv(&l.t, room, sizeof(room), &more, &e), ERR_AGAIN);
		for (size_t i = 0; i < 50; i++) {
			if (encrypted)
				assert_int_equal(
					SSL_write(l.client, content + i * 1000, 1000), 1000);
			else
				assert_int_equal(write(l.fd, content + i * 1000, 1000), 1000);
		}
		if (encrypted)
			SSL_shutdown(l.client);
		else
			shutdown(l.fd, SHUT_WR);
		/* all that is there comes in one call, small records or not */
		assert_int_equal(transport_recv(&l.t, room, sizeof(room), &n, &e), OK);
		assert_int_equal(n, 50000);
		assert_memory_equal(room, content, n);
		p.fd = l.t.fd;
		assert_int_equal(poll(&p, 1, 0), 1); /* a loop is told of the end */
		assert_int_equal(transport_recv(&l.t, room, sizeof(room), &more, &e), OK);
		assert_int_equal(more, 0);
		transport_end(&l.t);
		if (encrypted) {
			assert_int_equal(SSL_read(l.client, room, 1), 0);
			assert_int_equal(SSL_get_error(l.client, 0), SSL_ERROR_ZERO_RETURN);
		}
		link_close(&l);
	}
}

/* What is wrong after bytes is told by the next call, which a loop makes when the socket is readable. */
static void check_error_after_bytes(struct link *l, int code, const char *text)
{
	struct pollfd p = { .fd = l->t.fd, .events = POLLIN };
	uint8_t room[2 * TLS_RECORD_MAX];
	struct err e = ERR_INIT;
	size_t n;

	assert_int_equal(transport_recv(&l->t, room, sizeof(room), &n, &e), OK);
	assert_int_equal(n, 1000);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(poll(&p, 1, 0), 1);
		assert_int_equal(transport_recv(&l->t, room, sizeof(room), &n, &e), code);
		assert_string_equal(e.text, text);
	}
}

static void test_bad_record_after_bytes(void **state)
{
	static const uint8_t bad[5 + 32] = { 23, 3, 3, 0, 32 }; /* its head is all that is right */
	struct link l;

	link_open(&l, true);
	assert_int_equal(SSL_write(l.client, content, 1000), 1000);
	assert_int_equal(write(l.fd, bad, sizeof(bad)), sizeof(bad));
	check_error_after_bytes(&l, ERR_FORMAT, "TLS: decryption failed or bad record mac");
	link_close(&l);
}

static void test_reset_after_bytes(void **state)
{
	struct outq q = { 0 };
	struct err e = ERR_INIT;
	struct link l;
	size_t sent;

	link_open(&l, true);
	put(&q, "unread", 6);
	assert_int_equal(transport_send(&l.t, &q, &sent, &e), OK);
	outq_free(&q);
	assert_int_equal(SSL_write(l.client, content, 1000), 1000);
	close(l.fd);
	check_error_after_bytes(&l, ERR_IO, "TLS: Connection reset by peer");
	l.fd = open("/dev/null", O_RDONLY);
	link_close(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_encrypted),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_a_file_that_became_shorter),
		cmocka_unit_test(test_input),
		cmocka_unit_test(test_bad_record_after_bytes),
		cmocka_unit_test(test_reset_after_bytes),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, fill, pki_teardown);
}
