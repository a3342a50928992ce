/* What bindgen reads. The library's cipher calls are macros over function pointers in IMB_MGR: here they get names. */

#include <intel-ipsec-mb.h>

#if IMB_VERSION_NUM < IMB_VERSION(1, 0, 0)
#error "intel-ipsec-mb 1.0 or later is needed"
#endif

enum culvert_gcm_size {
	CULVERT_GCM_KEY_SIZE = sizeof(struct gcm_key_data),
	CULVERT_GCM_CONTEXT_SIZE = sizeof(struct gcm_context_data),
};

static const uint64_t CULVERT_FEATURE_AESNI = IMB_FEATURE_AESNI;
static const uint64_t CULVERT_FEATURE_PCLMULQDQ = IMB_FEATURE_PCLMULQDQ;

/* The manager holds some hundred fields that move between versions; these are the few that count. */
static inline aes_gcm_enc_dec_t culvert_gcm128_enc(const IMB_MGR *m) { return m->gcm128_enc; }
static inline aes_gcm_enc_dec_t culvert_gcm128_dec(const IMB_MGR *m) { return m->gcm128_dec; }
static inline aes_gcm_pre_t culvert_gcm128_pre(const IMB_MGR *m) { return m->gcm128_pre; }
static inline aes_gcm_enc_dec_t culvert_gcm256_enc(const IMB_MGR *m) { return m->gcm256_enc; }
static inline aes_gcm_enc_dec_t culvert_gcm256_dec(const IMB_MGR *m) { return m->gcm256_dec; }
static inline aes_gcm_pre_t culvert_gcm256_pre(const IMB_MGR *m) { return m->gcm256_pre; }
static inline aes_gcm_enc_dec_t culvert_gcm192_enc(const IMB_MGR *m) { return m->gcm192_enc; }
static inline aes_gcm_enc_dec_t culvert_gcm192_dec(const IMB_MGR *m) { return m->gcm192_dec; }
static inline aes_gcm_pre_t culvert_gcm192_pre(const IMB_MGR *m) { return m->gcm192_pre; }
static inline aes_gmac_init_t culvert_gmac128_init(const IMB_MGR *m) { return m->gmac128_init; }
static inline aes_gmac_update_t culvert_gmac128_update(const IMB_MGR *m) { return m->gmac128_update; }
static inline aes_gmac_finalize_t culvert_gmac128_finalize(const IMB_MGR *m) { return m->gmac128_finalize; }
static inline aes_gmac_init_t culvert_gmac192_init(const IMB_MGR *m) { return m->gmac192_init; }
static inline aes_gmac_update_t culvert_gmac192_update(const IMB_MGR *m) { return m->gmac192_update; }
static inline aes_gmac_finalize_t culvert_gmac192_finalize(const IMB_MGR *m) { return m->gmac192_finalize; }
static inline aes_gmac_init_t culvert_gmac256_init(const IMB_MGR *m) { return m->gmac256_init; }
static inline aes_gmac_update_t culvert_gmac256_update(const IMB_MGR *m) { return m->gmac256_update; }
static inline aes_gmac_finalize_t culvert_gmac256_finalize(const IMB_MGR *m) { return m->gmac256_finalize; }
static inline keyexp_t culvert_keyexp128(const IMB_MGR *m) { return m->keyexp_128; }
static inline keyexp_t culvert_keyexp192(const IMB_MGR *m) { return m->keyexp_192; }
static inline keyexp_t culvert_keyexp256(const IMB_MGR *m) { return m->keyexp_256; }
static inline cmac_subkey_gen_t culvert_cmac_subkeys(const IMB_MGR *m) { return m->cmac_subkey_gen_128; }
static inline xcbc_keyexp_t culvert_xcbc_keyexp(const IMB_MGR *m) { return m->xcbc_keyexp; }
static inline hash_one_block_t culvert_sha1_block(const IMB_MGR *m) { return m->sha1_one_block; }
static inline hash_one_block_t culvert_sha256_block(const IMB_MGR *m) { return m->sha256_one_block; }
static inline hash_one_block_t culvert_sha384_block(const IMB_MGR *m) { return m->sha384_one_block; }
static inline hash_one_block_t culvert_sha512_block(const IMB_MGR *m) { return m->sha512_one_block; }
static inline uint64_t culvert_features(const IMB_MGR *m) { return m->features; }
/* Not imb_get_errno(): where the manager has no error, that tells of any other thread's last one. */
static inline int culvert_mb_errno(const IMB_MGR *m) { return m->imb_errno; }
static inline IMB_ARCH culvert_arch(const IMB_MGR *m) { return (IMB_ARCH)m->used_arch; }

/* What a job is told. IMB_JOB is unions within unions, and they move between versions. */
struct culvert_task {
	const void *enc_keys;
	const void *dec_keys;
	uint64_t key_len;
	uint8_t *data;
	uint64_t cipher_start;
	uint64_t cipher_len;
	uint64_t hash_start;
	uint64_t hash_len;
	const uint8_t *iv;
	uint64_t iv_len;
	uint8_t *tag;
	uint64_t tag_len;
	/* HMAC: hashed inner and outer pad. XCBC: K1 expanded, K2, K3. CMAC: key expanded, both subkeys. */
	const void *auth_keys[3];
	const void *aad;
	uint64_t aad_len;
	IMB_CIPHER_MODE cipher;
	IMB_CIPHER_DIRECTION direction;
	IMB_HASH_ALG hash;
	IMB_CHAIN_ORDER order;
	/* Comes back by culvert_mark(). */
	uintptr_t mark;
};

/* Hands one over. Returns a finished job, which may be an earlier one, or NULL. */
static inline IMB_JOB *culvert_submit(IMB_MGR *m, const struct culvert_task *t)
{
	IMB_JOB *job = IMB_GET_NEXT_JOB(m);

	job->enc_keys = t->enc_keys;
	job->dec_keys = t->dec_keys;
	job->key_len_in_bytes = t->key_len;
	job->src = t->data;
	job->dst = t->data + t->cipher_start;
	job->cipher_start_src_offset_in_bytes = t->cipher_start;
	job->msg_len_to_cipher_in_bytes = t->cipher_len;
	job->hash_start_src_offset_in_bytes = t->hash_start;
	job->msg_len_to_hash_in_bytes = t->hash_len;
	job->iv = t->iv;
	job->iv_len_in_bytes = t->iv_len;
	job->auth_tag_output = t->tag;
	job->auth_tag_output_len_in_bytes = t->tag_len;
	switch (t->hash) {
	case IMB_AUTH_AES_CCM:
		job->u.CCM.aad = t->aad;
		job->u.CCM.aad_len_in_bytes = t->aad_len;
		break;
	case IMB_AUTH_CHACHA20_POLY1305:
		job->u.CHACHA20_POLY1305.aad = t->aad;
		job->u.CHACHA20_POLY1305.aad_len_in_bytes = t->aad_len;
		break;
	case IMB_AUTH_AES_XCBC:
		job->u.XCBC._k1_expanded = t->auth_keys[0];
		job->u.XCBC._k2 = t->auth_keys[1];
		job->u.XCBC._k3 = t->auth_keys[2];
		break;
	case IMB_AUTH_AES_CMAC:
		job->u.CMAC._key_expanded = t->auth_keys[0];
		job->u.CMAC._skey1 = t->auth_keys[1];
		job->u.CMAC._skey2 = t->auth_keys[2];
		break;
	default:
		job->u.HMAC._hashed_auth_key_xor_ipad = t->auth_keys[0];
		job->u.HMAC._hashed_auth_key_xor_opad = t->auth_keys[1];
		break;
	}
	job->cipher_mode = t->cipher;
	job->cipher_direction = t->direction;
	job->hash_alg = t->hash;
	job->chain_order = t->order;
	job->user_data = (void *)t->mark;
	return IMB_SUBMIT_JOB(m);
}

/* Finishes the oldest job; NULL where none is left. */
static inline IMB_JOB *culvert_flush(IMB_MGR *m) { return IMB_FLUSH_JOB(m); }
static inline int culvert_completed(const IMB_JOB *job) { return job->status == IMB_STATUS_COMPLETED; }
static inline uintptr_t culvert_mark(const IMB_JOB *job) { return (uintptr_t)job->user_data; }
