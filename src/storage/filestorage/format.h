/* The bytes of a Data.fs: docs/format.md. Pure functions, no I/O. */
#ifndef FILESTORAGE_FORMAT_H
#define FILESTORAGE_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

enum {
	FS_MAGIC_LEN = 4,
	FS_TXN_HEADER_LEN = 23,
	FS_REC_HEADER_LEN = 42,
	FS_FIRST_TXN = 4,      /* offset of the first transaction */
	FS_STATUS_OFF = 16,    /* of the status byte in a transaction header */
	FS_STRING_MAX = 65535, /* bytes of user, description, extension (T59) */
};

/** A transaction header; the three strings follow it, then records, then tlen again. */
struct fs_txn_header {
	uint64_t tid;
	uint64_t tlen;  /* length of the transaction record less 8 (the second tlen) */
	uint8_t status; /* ' ' complete, 'p' packed, 'c' not finished, 'u' undone long ago */
	uint16_t ulen;
	uint16_t dlen;
	uint16_t elen;
};

struct fs_rec_header {
	uint64_t oid;
	uint64_t tid;
	uint64_t prev; /* offset of the object's previous record, 0: none */
	uint64_t tloc; /* offset of its transaction */
	uint64_t plen; /* data bytes that follow; 0: an 8 byte back-pointer follows */
	uint16_t vlen; /* must be 0 */
};

/** True for "FS21" and "FS30". */
bool fs_magic_ok(const uint8_t magic[FS_MAGIC_LEN]);

void fs_txn_header_get(const uint8_t *p, struct fs_txn_header *ret);
void fs_txn_header_put(uint8_t *p, const struct fs_txn_header *h);
void fs_rec_header_get(const uint8_t *p, struct fs_rec_header *ret);
void fs_rec_header_put(uint8_t *p, const struct fs_rec_header *h);

/** Header and three strings. */
static inline uint64_t fs_txn_header_size(const struct fs_txn_header *h)
{
	return (uint64_t)FS_TXN_HEADER_LEN + h->ulen + h->dlen + h->elen;
}

/** Header and data, or header and back-pointer. */
static inline uint64_t fs_rec_size(const struct fs_rec_header *h)
{
	return FS_REC_HEADER_LEN + (h->plen ? h->plen : 8);
}

#endif
