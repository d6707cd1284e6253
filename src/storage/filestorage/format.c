#include "storage/filestorage/format.h"

#include <string.h>

#include "base/bigendian.h"

bool fs_magic_ok(const uint8_t magic[FS_MAGIC_LEN])
{
	return memcmp(magic, "FS30", FS_MAGIC_LEN) == 0 || memcmp(magic, "FS21", FS_MAGIC_LEN) == 0;
}

void fs_txn_header_get(const uint8_t *p, struct fs_txn_header *ret)
{
	ret->tid = get_be64(p);
	ret->tlen = get_be64(p + 8);
	ret->status = p[FS_STATUS_OFF];
	ret->ulen = get_be16(p + 17);
	ret->dlen = get_be16(p + 19);
	ret->elen = get_be16(p + 21);
}

void fs_txn_header_put(uint8_t *p, const struct fs_txn_header *h)
{
	put_be64(p, h->tid);
	put_be64(p + 8, h->tlen);
	p[FS_STATUS_OFF] = h->status;
	put_be16(p + 17, h->ulen);
	put_be16(p + 19, h->dlen);
	put_be16(p + 21, h->elen);
}

void fs_rec_header_get(const uint8_t *p, struct fs_rec_header *ret)
{
	ret->oid = get_be64(p);
	ret->tid = get_be64(p + 8);
	ret->prev = get_be64(p + 16);
	ret->tloc = get_be64(p + 24);
	ret->vlen = get_be16(p + 32);
	ret->plen = get_be64(p + 34);
}

void fs_rec_header_put(uint8_t *p, const struct fs_rec_header *h)
{
	put_be64(p, h->oid);
	put_be64(p + 8, h->tid);
	put_be64(p + 16, h->prev);
	put_be64(p + 24, h->tloc);
	put_be16(p + 32, h->vlen);
	put_be64(p + 34, h->plen);
}
