#include "base/errand.h"

#include <stddef.h>

static _Thread_local struct errand_taker *taker;

bool errand_leave(struct errand *er)
{
	return taker && taker->take(taker, er);
}

void errand_set_taker(struct errand_taker *t)
{
	taker = t;
}
