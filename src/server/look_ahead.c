#include "server/look_ahead.h"

#include "server/hub.h"
#include "server/server.h"
#include "server/session.h"
#include "zeo/frame.h"
#include "zeo/load_call.h"

void look_ahead_start(struct look_ahead *la)
{
	la->from = la->to = NULL;
	la->of = NULL;
	la->n = 0;
}

bool look_ahead_add(struct look_ahead *la, const struct session *s, struct slice in)
{
	struct storage *of = s->state == SESSION_REGISTERED ? s->hs->ss->storage : NULL;
	struct slice content;
	struct load_call c;
	size_t need;

	if (!of || !of->ops->prefetch || (la->of && la->of != of))
		return true;
	la->of = of;
	if (!la->from)
		la->from = in.data;
	while (la->n < STORAGE_PREFETCH_MAX &&
		frame_take(in, SESSION_FRAME_MAX, &content, &need) == FRAME_WHOLE) {
		if (load_call_take(content, s->encoding, &c))
			la->oids[la->n++] = c.oid;
		in = slice_of(in.data + need, in.len - need);
		la->to = in.data;
	}
	return la->n < STORAGE_PREFETCH_MAX;
}

void look_ahead_end(struct look_ahead *la)
{
	if (la->n > 1) /* a single one is looked at right after this */
		la->of->ops->prefetch(la->of, la->oids, la->n);
}
