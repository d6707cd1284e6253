#include "net/send_ring.h"

#include <errno.h>
#include <liburing.h>

#include "base/check.h"
#include "base/mem.h"

struct send_ring {
	struct io_uring uring;
};

void send_ring_free(struct send_ring *r)
{
	if (!r)
		return;
	io_uring_queue_exit(&r->uring);
	mem_free(r);
}

/* Before Linux 5.6 a ring has only files. */
static bool can_send(struct io_uring *uring)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(uring);
	bool can = probe && io_uring_opcode_supported(probe, IORING_OP_SEND) &&
		   io_uring_opcode_supported(probe, IORING_OP_SENDMSG);

	if (probe)
		io_uring_free_probe(probe);
	return can;
}

struct send_ring *send_ring_new(void)
{
	struct send_ring *r = mem_zalloc(1, sizeof(*r));

	if (!r)
		return NULL;
	if (io_uring_queue_init(SEND_RING_MAX, &r->uring, 0) != 0) {
		mem_free(r);
		return NULL;
	}
	if (!can_send(&r->uring)) {
		send_ring_free(r);
		return NULL;
	}
	return r;
}

/* The ring has room for all of them: it is empty between two calls. */
static void prepare(struct send_ring *r, struct ring_send *s)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&r->uring);
	int flags = MSG_DONTWAIT | MSG_NOSIGNAL;

	s->result = -ECANCELED;
	if (s->n_iov == 1) {
		io_uring_prep_send(sqe, s->fd, s->iov[0].iov_base, s->iov[0].iov_len, flags);
	} else {
		s->msg = (struct msghdr){ .msg_iov = s->iov, .msg_iovlen = (size_t)s->n_iov };
		io_uring_prep_sendmsg(sqe, s->fd, &s->msg, (unsigned)flags);
	}
	io_uring_sqe_set_data(sqe, s);
}

/* How many of them the system has taken, in their order. */
static size_t submit(struct send_ring *r, size_t n)
{
	size_t taken = 0;

	while (taken < n) {
		int rc = io_uring_submit_and_wait(&r->uring, (unsigned)(n - taken));

		if (rc == -EINTR)
			continue;
		if (rc <= 0)
			break;
		taken += (size_t)rc;
	}
	return taken;
}

/* Nothing was sent, and not because of the socket; or send(2) says so, too. */
static bool is_untried(int error)
{
	return error == -EINVAL || error == -EOPNOTSUPP || error == -ENOMEM || error == -EINTR;
}

/* They do not wait, so their results are there. One whose result cannot be had has failed: it may have been sent. */
static bool take_results(struct send_ring *r, struct ring_send *sends, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sends[i].result = -EIO;
	for (size_t i = 0; i < n; i++) {
		struct io_uring_cqe *cqe;
		struct ring_send *s;
		int rc;

		do
			rc = io_uring_wait_cqe(&r->uring, &cqe);
		while (rc == -EINTR);
		if (rc != 0)
			return false;
		s = io_uring_cqe_get_data(cqe);
		s->result = is_untried(cqe->res) ? -ECANCELED : cqe->res;
		io_uring_cqe_seen(&r->uring, cqe);
	}
	return true;
}

bool send_ring_go(struct send_ring *r, struct ring_send *sends, size_t n)
{
	size_t taken;

	CHECK(n <= SEND_RING_MAX);
	for (size_t i = 0; i < n; i++)
		prepare(r, &sends[i]);
	taken = submit(r, n);
	return take_results(r, sends, taken) && taken == n;
}
