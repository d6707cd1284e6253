#include "base/decimal.h"

#include <locale.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static locale_t plain;

static void make(void)
{
	plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

/* What the thread had; the C library has the plain one without memory. */
static locale_t use_plain(void)
{
	pthread_once(&once, make);
	return plain ? uselocale(plain) : (locale_t)0;
}

static void use_again(locale_t before)
{
	if (before)
		uselocale(before);
}

double decimal_parse(const char *text, char **ret_end)
{
	locale_t before = use_plain();
	double v = strtod(text, ret_end);

	use_again(before);
	return v;
}

void decimal_print(char *out, size_t room, char kind, int precision, double v)
{
	locale_t before = use_plain();

	if (kind == 'g')
		snprintf(out, room, "%.*g", precision, v);
	else if (kind == 'e')
		snprintf(out, room, "%.*e", precision, v);
	else
		snprintf(out, room, "%.*f", precision, v);
	use_again(before);
}
