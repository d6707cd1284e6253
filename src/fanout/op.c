/* Requests that are answered by the server: sent when there is a connection, kept while there is none. */
#include <string.h>

#include "base/bigendian.h"
#include "base/check.h"
#include "base/mem.h"
#include "codec/tid.h"
#include "fanout/core.h"

/* --- values --- */

struct val id_val(uint64_t id, struct fan_id *room)
{
	put_be64(room->bytes, id);
	return (struct val){ .type = VAL_BYTES, .s = slice_of(room->bytes, sizeof(room->bytes)) };
}

struct val int_val(int64_t i)
{
	return (struct val){ .type = VAL_INT, .i = i };
}

bool val_is_id(const struct val *v)
{
	return v->type == VAL_BYTES && v->s.len == 8;
}

uint64_t val_id(const struct val *v)
{
	return get_be64(v->s.data);
}

uint64_t val_id_or_none(const struct val *v)
{
	return val_is_id(v) ? val_id(v) : TID_NONE;
}

struct slice val_text(const struct val *v)
{
	return v->type == VAL_STR || v->type == VAL_BYTES ? v->s : slice_of(NULL, 0);
}

/* --- the list of those that wait. L --- */

static void park(struct op *op)
{
	struct fanout *f = op->f;

	op->next = f->parked;
	op->back = &f->parked;
	if (op->next)
		op->next->back = &op->next;
	f->parked = op;
	op->is_parked = true;
	pthread_cond_broadcast(&f->changed); /* the thread knows a time limit more */
}

static void unpark(struct op *op)
{
	*op->back = op->next;
	if (op->next)
		op->next->back = op->back;
	op->is_parked = false;
}

static void post(struct op *op, void (*done)(struct job *j))
{
	op->job.done = done;
	op->exec->post(op->exec, &op->job);
}

/* --- on the exec's loop --- */

static void launch(struct op *op);

static void finish(struct op *op)
{
	const struct call *k = &op->call;

	if (op->rc != OK && op->rc != ERR_CLOSED && k->reply.len)
		raised_frame(&op->raised, k->reply, k->encoding);
	if (op->rc == ERR_CLOSED)
		raised_text(&op->raised, "ZEO.Exceptions.ClientDisconnected", &op->err);
	op->answered(op);
}

static int why_not(struct fanout *f, struct err *e)
{
	if (f->state == FAN_REFUSED)
		return err_set(e, ERR_REMOTE, "%s", f->refused);
	if (f->stopping)
		return err_set(e, ERR_CLOSED, "the server is being stopped");
	return err_set(e, ERR_CLOSED, "timed out waiting for connection");
}

/* There is no connection: wait for one, or fail. */
static void wait_or_fail(struct op *op)
{
	struct fanout *f = op->f;
	bool fails;
	bool again;

	pthread_mutex_lock(&f->lock);
	again = f->state == FAN_UP && f->up_generation != op->generation && !f->stopping;
	fails = f->stopping || f->state == FAN_REFUSED ||
		clock_mono_us(f->clock) >= op->deadline_us;
	if (fails && !again)
		op->rc = why_not(f, &op->err);
	else if (!again)
		park(op);
	pthread_mutex_unlock(&f->lock);
	if (again)
		launch(op);
	else if (fails)
		finish(op);
}

static void launch(struct op *op)
{
	struct fanout *f = op->f;
	struct err e = ERR_INIT;
	int rc = ERR_CLOSED;
	bool up;

	pthread_mutex_lock(&f->lock);
	up = (f->state == FAN_UP || (f->state == FAN_PROBING && op->early)) && !f->stopping;
	op->generation = f->up_generation;
	pthread_mutex_unlock(&f->lock);
	if (up)
		rc = op->start(op, &e);
	if (rc == OK)
		return; /* it may have been answered, and be gone */
	op->rc = rc;
	op->err = e;
	if (rc == ERR_CLOSED)
		wait_or_fail(op);
	else
		finish(op);
}

static void on_resumed(struct job *j)
{
	launch(CONTAINER_OF(j, struct op, job));
}

static void on_expired(struct job *j)
{
	finish(CONTAINER_OF(j, struct op, job));
}

static void on_answer(struct job *j)
{
	struct op *op = CONTAINER_OF(j, struct op, job);

	if (op->rc != ERR_CLOSED || !op->again) {
		finish(op);
		return;
	}
	op_again(op);
	wait_or_fail(op);
}

void op_worked(struct job *j)
{
	on_answer(j);
}

void op_start(struct op *op, struct fanout *f, struct exec *exec)
{
	op->f = f;
	op->exec = exec;
	op->deadline_us = clock_mono_us(f->clock) + (uint64_t)f->wait_ms * 1000;
	launch(op);
}

void op_again(struct op *op)
{
	call_end(&op->call);
	op->call = (struct call){ 0 };
	raised_end(&op->raised);
	op->rc = OK;
}

void op_bind(const struct op *op, struct call *k)
{
	k->generation = op->early ? 0 : op->generation;
}

int op_call(
	struct op *op, const char *method, const struct val *args, uint32_t n_args, struct err *e)
{
	op->call.done = op_done;
	op->call.arg = op;
	op_bind(op, &op->call);
	return client_call(op->f->client, &op->call, method, args, n_args, 0, e);
}

bool op_decode(struct op *op)
{
	if (op->rc == OK)
		op->rc = call_decode(&op->call, &op->err);
	return op->rc == OK;
}

void op_bad_answer(struct op *op, const char *expected)
{
	op->rc = err_set(
		&op->err, ERR_FORMAT, "the server has answered something else than %s", expected);
}

void op_free(struct op *op)
{
	CHECK(!op->is_parked);
	call_end(&op->call);
	raised_end(&op->raised);
	mem_free(op);
}

/* --- on other threads --- */

void op_done(struct call *k)
{
	struct op *op = k->arg;

	op->rc = k->rc;
	if (k->rc != OK)
		op->err = k->err;
	post(op, on_answer);
}

void op_resume_all(struct fanout *f)
{
	while (f->parked) {
		struct op *op = f->parked;

		unpark(op);
		post(op, on_resumed);
	}
}

uint64_t op_expire(struct fanout *f, uint64_t now_us)
{
	uint64_t first = UINT64_MAX;
	struct op *op = f->parked;
	struct op *next;

	for (; op; op = next) {
		next = op->next;
		if (op->deadline_us > now_us) {
			first = op->deadline_us < first ? op->deadline_us : first;
			continue;
		}
		unpark(op);
		op->rc = why_not(f, &op->err);
		post(op, on_expired);
	}
	return first;
}
