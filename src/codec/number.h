/* The order of numbers as Python has it: ints of any size, bools and floats, exactly. */
#ifndef CODEC_NUMBER_H
#define CODEC_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/err.h"
#include "codec/val.h"

enum { NUMBER_UNORDERED = 2 }; /* one of them is not a number */

bool number_is_int(const struct val *v);
/** An int, a bool or a float. */
bool number_is(const struct val *v);

/** The sign of a - b, or NUMBER_UNORDERED. Both are number_is(). */
int number_order(const struct val *a, const struct val *b);

/** The float next to little-endian two's complement bytes, one of them at least; infinite beyond the range. */
double number_double(struct slice le);
/** What equal numbers have in common, of whatever type they are. */
uint64_t number_hash(const struct val *v);

/** Digits in decimal, of little-endian two's complement bytes; appended. */
void number_print(struct slice le, struct buf *out);
/** The bytes that number_from_digits() needs: a digit is less than 4 bits, and there is a sign. */
static inline size_t number_room(const char *digits)
{
	return strlen(digits) / 2 + 2;
}
/** Fill @n bytes at @le with the number, which has digits only. */
void number_from_digits(const char *digits, bool negative, uint8_t *le, size_t n);
/** [+-]digits into such bytes, the fewest that show it; appended. Returns 0, ERR_INVAL or ERR_NOMEM. */
MUST_CHECK int number_parse(const char *text, struct buf *out, struct err *e);

#endif
