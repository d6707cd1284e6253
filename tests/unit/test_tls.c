/* The server's side of TLS against OpenSSL's client, over sockets that do not block. */
#include "cmocka_all.h"

#include <signal.h>
#include <string.h>

#include "base/mem.h"
#include "tls_client.h"

struct pair {
	struct tls_context *context;
	struct tls *server;
	SSL *client;
	int fds[2];
};

static struct pair pair_new(const char *client)
{
	struct pair p = { .context = server_context() };
	struct err e = ERR_INIT;

	connect_pair(p.fds);
	assert_int_equal(tls_new(p.context, p.fds[0], &p.server, &e), OK);
	p.client = client_new(p.fds[1], client);
	return p;
}

static void pair_free(struct pair *p)
{
	tls_free(p->server);
	SSL_free(p->client);
	close(p->fds[0]);
	close(p->fds[1]);
	tls_context_free(p->context);
}

/* Take both sides further until the server's is done or has failed. */
static int handshake(struct pair *p, struct err *e)
{
	int rc = ERR_AGAIN;

	for (int i = 0; i < 20 && rc == ERR_AGAIN; i++) {
		SSL_do_handshake(p->client);
		rc = tls_handshake(p->server, e);
	}
	return rc;
}

static struct pair ready_pair(void)
{
	struct pair p = pair_new("client");
	struct err e = ERR_INIT;

	assert_false(tls_is_ready(p.server));
	if (handshake(&p, &e) != OK)
		fail_msg("%s", e.text);
	assert_true(tls_is_ready(p.server));
	return p;
}

static bool readable(int fd)
{
	struct pollfd f = { .fd = fd, .events = POLLIN };

	return poll(&f, 1, 0) == 1;
}

static void fill(uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(i * 7 + i / 251);
}

/* T2: what was sent comes as long as the socket is readable, in records of any size. */
static void test_reading_follows_the_socket(void **state)
{
	static const size_t sizes[] = { 16384, 1, 16384, 5000, 16384, 1, 1, 1, 16383, 3 };
	uint8_t sent[80000], got[160000];
	struct pair p = ready_pair();
	size_t n_sent = 0, n_got = 0;

	fill(sent, sizeof(sent));
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		assert_int_equal(SSL_write(p.client, sent + n_sent, (int)sizes[i]), (int)sizes[i]);
		n_sent += sizes[i];
	}
	while (readable(p.fds[0])) {
		struct err e = ERR_INIT;
		size_t n = 0;

		assert_int_equal(tls_read(p.server, got + n_got, TLS_RECORD_MAX, &n, &e), OK);
		assert_true(n > 0);
		n_got += n;
	}
	assert_int_equal(n_got, n_sent);
	assert_memory_equal(got, sent, n_sent);
	pair_free(&p);
}

static void test_nothing_to_read(void **state)
{
	struct pair p = ready_pair();
	bool reading = true, writing = false;
	struct err e = ERR_INIT;
	uint8_t room[TLS_RECORD_MAX];
	size_t n = 77;

	assert_int_equal(tls_read(p.server, room, sizeof(room), &n, &e), ERR_AGAIN);
	tls_waits(p.server, &reading, &writing);
	assert_true(reading);
	assert_false(writing);
	pair_free(&p);
}

/* T3: a write that had to wait is repeated from other memory, with more bytes behind. */
static void test_writes_that_wait(void **state)
{
	enum { ALL = 3 << 20 };
	uint8_t *data = malloc(ALL), *got = malloc(ALL);
	struct pair p = ready_pair();
	size_t n_sent = 0, n_got = 0, waited = 0;

	fill(data, ALL);
	while (n_got < ALL) {
		size_t len =
			ALL - n_sent < 5000 + 100 * waited ? ALL - n_sent : 5000 + 100 * waited;
		uint8_t *copy = malloc(len + 1);
		struct err e = ERR_INIT;
		size_t n = 0;
		int rc = ERR_AGAIN;

		memcpy(copy, data + n_sent, len);
		if (len)
			rc = tls_write(p.server, copy, len, &n, &e);
		free(copy);
		n_sent += n;
		if (rc == OK)
			continue;
		assert_int_equal(rc, ERR_AGAIN);
		waited++;
		for (int r; (r = SSL_read(p.client, got + n_got, (int)(ALL - n_got))) > 0;)
			n_got += (size_t)r;
	}
	assert_true(waited > 3);
	assert_memory_equal(got, data, ALL);
	free(data);
	free(got);
	pair_free(&p);
}

/* The client changes its keys, and asks us to change ours. */
static void test_key_updates(void **state)
{
	struct pair p = ready_pair();
	uint8_t room[TLS_RECORD_MAX];

	for (int i = 0; i < 3; i++) {
		struct err e = ERR_INIT;
		size_t n = 0;
		int rc;

		assert_int_equal(SSL_key_update(p.client, SSL_KEY_UPDATE_REQUESTED), 1);
		assert_int_equal(SSL_write(p.client, "abc", 3), 3);
		do /* one call takes one record: nobody keeps us busy without data */
			rc = tls_read(p.server, room, sizeof(room), &n, &e);
		while (rc == ERR_AGAIN && readable(p.fds[0]));
		assert_int_equal(rc, OK);
		assert_int_equal(n, 3);
		assert_int_equal(tls_write(p.server, "reply", 5, &n, &e), OK);
		assert_int_equal(SSL_read(p.client, room, sizeof(room)), 5);
	}
	pair_free(&p);
}

/* The client asks for new keys while a write of ours waits: both go on. */
static void test_a_key_update_during_a_write(void **state)
{
	struct pair p = ready_pair();
	uint8_t room[TLS_RECORD_MAX], data[TLS_RECORD_MAX];
	size_t n_sent = 0, n_got = 0, n = 0;
	struct err e = ERR_INIT;
	int rc;

	fill(data, sizeof(data));
	while ((rc = tls_write(p.server, data, sizeof(data), &n, &e)) == OK)
		n_sent += n;
	assert_int_equal(rc, ERR_AGAIN);
	assert_int_equal(SSL_key_update(p.client, SSL_KEY_UPDATE_REQUESTED), 1);
	assert_int_equal(SSL_write(p.client, "abc", 3), 3);
	do
		rc = tls_read(p.server, room, sizeof(room), &n, &e);
	while (rc == ERR_AGAIN && readable(p.fds[0]));
	assert_int_equal(rc, OK);
	assert_int_equal(n, 3);
	while (n_got < n_sent + sizeof(data)) {
		int r = SSL_read(p.client, room, sizeof(room));

		if (r > 0) {
			assert_memory_equal(room, data + n_got % sizeof(data), r);
			n_got += (size_t)r;
		} else { /* once more the data whose sending had to wait */
			assert_int_equal(tls_write(p.server, data, sizeof(data), &n, &e), OK);
			assert_int_equal(n, sizeof(data));
		}
	}
	pair_free(&p);
}

static void test_ends(void **state)
{
	struct pair p = ready_pair();
	uint8_t room[TLS_RECORD_MAX];
	struct err e = ERR_INIT;
	size_t n = 77;

	SSL_write(p.client, "last", 4);
	SSL_shutdown(p.client);
	assert_int_equal(tls_read(p.server, room, sizeof(room), &n, &e), OK);
	assert_int_equal(n, 4);
	for (int i = 0; i < 2; i++) { /* and it stays so */
		assert_int_equal(tls_read(p.server, room, sizeof(room), &n, &e), OK);
		assert_int_equal(n, 0);
	}
	tls_close_notify(p.server);
	assert_int_equal(SSL_read(p.client, room, 1), 0);
	assert_int_equal(SSL_get_error(p.client, 0), SSL_ERROR_ZERO_RETURN);
	pair_free(&p);
}

/* Many clients close the socket without a word of TLS. */
static void test_ends_without_a_word(void **state)
{
	struct pair p = ready_pair();
	uint8_t room[TLS_RECORD_MAX];
	struct err e = ERR_INIT;
	size_t n = 77;

	shutdown(p.fds[1], SHUT_RDWR);
	assert_int_equal(tls_read(p.server, room, sizeof(room), &n, &e), OK);
	assert_int_equal(n, 0);
	pair_free(&p);
}

/* The reason is told each time it is asked for. */
static void test_damaged_record(void **state)
{
	static const uint8_t record[] = { 0x17, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
		13, 14, 15, 16, 17, 18, 19, 20 };
	struct pair p = ready_pair();
	uint8_t room[TLS_RECORD_MAX];
	size_t n = 77;

	assert_int_equal(write(p.fds[1], record, sizeof(record)), sizeof(record));
	for (int i = 0; i < 2; i++) {
		struct err e = ERR_INIT;

		assert_int_equal(tls_read(p.server, room, sizeof(room), &n, &e), ERR_FORMAT);
		assert_string_equal(e.text, "TLS: decryption failed or bad record mac");
		assert_int_equal(n, 77);
	}
	tls_close_notify(p.server); /* no more than closing is possible */
	pair_free(&p);
}

static void expect_failure(struct pair *p, int code, const char *text)
{
	struct err e = ERR_INIT;

	assert_int_equal(handshake(p, &e), code);
	assert_string_equal(e.text, text);
	assert_false(tls_is_ready(p->server));
	pair_free(p);
}

static void test_certificates_of_clients(void **state)
{
	struct pair p = pair_new(NULL);

	expect_failure(&p, ERR_FORMAT, "TLS: the client showed no certificate");
	p = pair_new("stranger");
	expect_failure(&p, ERR_FORMAT,
		"TLS: the client's certificate is not accepted: self-signed certificate");
}

static void test_other_bytes(void **state)
{
	struct pair p = pair_new("client");

	assert_int_equal(write(p.fds[1], "\0\0\0\2Z5", 6), 6);
	expect_failure(&p, ERR_FORMAT, "TLS: the client does not speak it (wrong version number)");
}

static void test_clients_that_leave(void **state)
{
	struct pair p = pair_new("client");
	struct err e = ERR_INIT;

	shutdown(p.fds[1], SHUT_WR);
	assert_int_equal(tls_handshake(p.server, &e), ERR_CLOSED);
	assert_string_equal(e.text, "TLS: the client left before it sent anything");
	pair_free(&p);
	p = pair_new("client");
	SSL_do_handshake(p.client);
	shutdown(p.fds[1], SHUT_WR);
	e = (struct err)ERR_INIT;
	while (tls_handshake(p.server, &e) == ERR_AGAIN)
		;
	assert_int_equal(e.code, ERR_FORMAT);
	assert_string_equal(e.text, "TLS: the client left in the middle");
	pair_free(&p);
}

/* Old versions are refused. */
static void test_versions(void **state)
{
	struct pair p = pair_new("client");

	SSL_set_security_level(p.client, 0);
	SSL_set_max_proto_version(p.client, TLS1_1_VERSION);
	expect_failure(&p, ERR_FORMAT, "TLS: unsupported protocol");
}

static void test_keys(void **state)
{
	struct tls_context *c = NULL;
	struct err e = ERR_INIT;
	char cert[64], key[64], server[64];

	pki_path("locked", "pem", cert);
	pki_path("locked", "key", key);
	pki_path("server", "key", server);
	assert_int_equal(tls_context_new(&c, &e), OK);
	assert_int_equal(tls_use_certificate(c, "/nowhere", &e), ERR_INVAL);
	assert_string_equal(
		e.text, "'/nowhere': cannot use it as a certificate: No such file or directory");
	assert_int_equal(tls_use_certificate(c, cert, &e), OK);
	assert_int_equal(tls_use_key(c, key, NULL, &e), ERR_NOKEY);
	assert_int_equal(tls_use_key(c, key, "open", &e), ERR_INVAL);
	assert_non_null(strstr(e.text, "cannot decrypt the key with the pass phrase: "));
	assert_null(strstr(e.text, "open"));
	assert_int_equal(tls_use_key(c, server, NULL, &e), ERR_INVAL);
	assert_non_null(strstr(e.text, "key values mismatch"));
	assert_int_equal(tls_use_key(c, cert, NULL, &e), ERR_INVAL);
	assert_non_null(strstr(e.text, "no private key was found in it"));
	assert_int_equal(tls_use_key(c, key, "open sesame", &e), OK);
	tls_context_free(c);
	tls_context_free(NULL);
	tls_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reading_follows_the_socket),
		cmocka_unit_test(test_nothing_to_read),
		cmocka_unit_test(test_writes_that_wait),
		cmocka_unit_test(test_key_updates),
		cmocka_unit_test(test_a_key_update_during_a_write),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_ends_without_a_word),
		cmocka_unit_test(test_damaged_record),
		cmocka_unit_test(test_certificates_of_clients),
		cmocka_unit_test(test_other_bytes),
		cmocka_unit_test(test_clients_that_leave),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_keys),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
