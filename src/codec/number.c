#include "codec/number.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"

bool number_is_int(const struct val *v)
{
	return v->type == VAL_INT || v->type == VAL_BOOL || v->type == VAL_BIGINT;
}

bool number_is(const struct val *v)
{
	return number_is_int(v) || v->type == VAL_FLOAT;
}

static int64_t small_int(const struct val *v)
{
	return v->type == VAL_BOOL ? v->b : v->i;
}

static int sign_of_bigint(const struct val *v)
{
	return v->s.data[v->s.len - 1] >= 0x80 ? -1 : 1;
}

static int order_i64(int64_t a, int64_t b)
{
	return (a > b) - (a < b);
}

/* Of one sign; without bytes that repeat the sign, as the decoder makes them. */
static int order_bigints(struct slice a, struct slice b, int sign)
{
	if (a.len != b.len)
		return a.len > b.len ? sign : -sign;
	for (size_t i = a.len; i-- > 0;)
		if (a.data[i] != b.data[i])
			return a.data[i] > b.data[i] ? 1 : -1;
	return 0;
}

static int order_ints(const struct val *a, const struct val *b)
{
	bool big_a = a->type == VAL_BIGINT;
	bool big_b = b->type == VAL_BIGINT;

	if (big_a && big_b && sign_of_bigint(a) == sign_of_bigint(b))
		return order_bigints(a->s, b->s, sign_of_bigint(a));
	if (big_a)
		return sign_of_bigint(a);
	if (big_b)
		return -sign_of_bigint(b);
	return order_i64(small_int(a), small_int(b));
}

static int order_doubles(double a, double b)
{
	if (isnan(a) || isnan(b))
		return NUMBER_UNORDERED;
	return (a > b) - (a < b);
}

/* Exact: a large int is not rounded to be compared. */
static int order_int_double(int64_t i, double f)
{
	int64_t whole;

	if (isnan(f))
		return NUMBER_UNORDERED;
	if (f >= 0x1p63)
		return -1;
	if (f < -0x1p63)
		return 1;
	whole = (int64_t)f;
	return i != whole ? order_i64(i, whole) : order_doubles((double)whole, f);
}

/* The bytes of a whole number beyond 64 bits, at most 1024 bits and a sign. */
static struct slice bytes_of_double(double f, uint8_t out[136])
{
	int exponent;
	uint64_t mantissa = (uint64_t)ldexp(fabs(frexp(f, &exponent)), 53);
	size_t shift = (size_t)exponent - 53;
	size_t n = 0;

	memset(out, 0, 136);
	for (int bit = 0; bit < 53; bit++)
		if (mantissa >> bit & 1)
			out[(shift + (size_t)bit) / 8] |=
				(uint8_t)(1 << ((shift + (size_t)bit) % 8));
	for (size_t i = 0, carry = 1; f < 0 && i < 136; i++) {
		carry += (uint8_t)~out[i];
		out[i] = (uint8_t)carry;
		carry >>= 8;
	}
	for (n = 136; n > 1; n--) { /* bytes that only repeat the sign */
		uint8_t sign = out[n - 2] >= 0x80 ? 0xff : 0;

		if (out[n - 1] != sign)
			break;
	}
	return slice_of(out, n);
}

static int order_bigint_double(const struct val *big, double f)
{
	uint8_t bytes[136];
	struct val other = { .type = VAL_BIGINT };

	if (isnan(f))
		return NUMBER_UNORDERED;
	if (fabs(f) < 0x1p63 || isinf(f))
		return isinf(f) ? (f < 0) - (f > 0) : sign_of_bigint(big);
	other.s = bytes_of_double(f, bytes);
	return order_ints(big, &other);
}

int number_order(const struct val *a, const struct val *b)
{
	int order;

	if (a->type != VAL_FLOAT && b->type != VAL_FLOAT)
		return order_ints(a, b);
	if (a->type == VAL_FLOAT && b->type == VAL_FLOAT)
		return order_doubles(a->f, b->f);
	if (a->type == VAL_FLOAT) {
		order = number_order(b, a);
		return order == NUMBER_UNORDERED ? order : -order;
	}
	if (a->type == VAL_BIGINT)
		return order_bigint_double(a, b->f);
	return order_int_double(small_int(a), b->f);
}

double number_double(struct slice le)
{
	size_t n = le.len < 8 ? le.len
			      : 8; /* the topmost bytes: more bits than a float has, and one */
	uint64_t bits = le.data[le.len - 1] >= 0x80 ? UINT64_MAX : 0;
	bool more = false;

	for (size_t i = 0; i < n; i++)
		bits = bits << 8 | le.data[le.len - 1 - i];
	for (size_t i = 0; i < le.len - n; i++)
		more |= le.data[i] != 0;
	return ldexp(
		(double)(int64_t)(bits | more), le.len - n > 1024 ? 8192 : 8 * (int)(le.len - n));
}

/* --- hash: the number modulo a prime, as Python has it; of the form 2**61 - 1, so that times 2 is a rotation --- */

enum { HASH_BITS = 61 };
static const uint64_t hash_prime = (UINT64_C(1) << HASH_BITS) - 1;

static uint64_t modulo(uint64_t x)
{
	x = (x & hash_prime) + (x >> HASH_BITS);
	return x >= hash_prime ? x - hash_prime : x;
}

/* Times 2**@by, also below 0. */
static uint64_t scale(uint64_t x, int64_t by)
{
	by = (by % HASH_BITS + HASH_BITS) % HASH_BITS;
	return by ? ((x << by) & hash_prime) | x >> (HASH_BITS - by) : x;
}

static uint64_t hash_bytes(struct slice le)
{
	uint64_t h = 0;

	for (size_t i = le.len; i-- > 0;)
		h = modulo(scale(h, 8) + le.data[i]);
	if (le.len && le.data[le.len - 1] >= 0x80)
		h = modulo(h + hash_prime - scale(1, (int64_t)(8 * (le.len % HASH_BITS))));
	return h;
}

static uint64_t with_sign(uint64_t h, bool negative)
{
	return negative && h ? hash_prime - h : h;
}

static uint64_t hash_double(double f)
{
	int exponent;
	double fraction;
	uint64_t bits;

	if (!isfinite(f) || trunc(f) != f) {
		memcpy(&bits, &f, sizeof(bits));
		return bits;
	}
	fraction = frexp(fabs(f), &exponent);
	return with_sign(scale((uint64_t)ldexp(fraction, 53), exponent - 53), f < 0);
}

uint64_t number_hash(const struct val *v)
{
	int64_t i;

	if (v->type == VAL_FLOAT)
		return hash_double(v->f);
	if (v->type == VAL_BIGINT)
		return hash_bytes(v->s);
	i = small_int(v);
	return with_sign(modulo(i < 0 ? -(uint64_t)i : (uint64_t)i), i < 0);
}

/* --- decimal --- */

enum { GROUP = 1000000000 };

/* @n little-endian bytes become minus them. */
static void negate(uint8_t *le, size_t n)
{
	unsigned carry = 1;

	for (size_t i = 0; i < n; i++) {
		carry += (uint8_t)~le[i];
		le[i] = (uint8_t)carry;
		carry >>= 8;
	}
}

/* The rest of the number by GROUP, which is divided. */
static uint32_t divide(uint8_t *le, size_t n)
{
	uint64_t rest = 0;

	for (size_t i = n; i-- > 0;) {
		rest = rest << 8 | le[i];
		le[i] = (uint8_t)(rest / GROUP);
		rest %= GROUP;
	}
	return (uint32_t)rest;
}

static bool is_zero(const uint8_t *le, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (le[i])
			return false;
	return true;
}

void number_print(struct slice le, struct buf *out)
{
	bool negative = le.len && le.data[le.len - 1] >= 0x80;
	size_t room = le.len / 3 + 2; /* a group is more than 3 bytes */
	uint8_t *rest = mem_alloc(le.len + 1);
	uint32_t *groups = mem_alloc(room * sizeof(*groups));
	size_t n = 0;

	if (!rest || !groups) {
		out->failed = true;
		goto out;
	}
	if (le.len)
		memcpy(rest, le.data, le.len);
	if (negative)
		negate(rest, le.len);
	do
		groups[n++] = divide(rest, le.len);
	while (!is_zero(rest, le.len));
	buf_printf(out, "%s%u", negative ? "-" : "", groups[n - 1]);
	for (size_t i = n - 1; i-- > 0;)
		buf_printf(out, "%09u", groups[i]);
out:
	mem_free(groups);
	mem_free(rest);
}

void number_from_digits(const char *digits, bool negative, uint8_t *le, size_t n)
{
	memset(le, 0, n);
	while (*digits) {
		uint64_t carry = 0;
		uint64_t factor = 1;

		for (; *digits && factor < GROUP; digits++, factor *= 10)
			carry = carry * 10 + (uint64_t)(*digits - '0');
		for (size_t i = 0; i < n; i++) {
			carry += le[i] * factor;
			le[i] = (uint8_t)carry;
			carry >>= 8;
		}
	}
	if (negative)
		negate(le, n);
}

int number_parse(const char *text, struct buf *out, struct err *e)
{
	bool negative = *text == '-';
	const char *digits = text + (negative || *text == '+');
	uint8_t *le;
	size_t n;

	if (!*digits || digits[strspn(digits, "0123456789")])
		return err_set(e, ERR_INVAL, "'%.60s' is no whole number in decimal digits", text);
	n = number_room(digits);
	le = buf_reserve(out, n);
	if (!le)
		return err_set(e, ERR_NOMEM, "no memory for a number");
	number_from_digits(digits, negative, le, n);
	while (n > 1 && le[n - 1] == (le[n - 2] >= 0x80 ? 0xff : 0))
		n--;
	buf_advance(out, n);
	return OK;
}
