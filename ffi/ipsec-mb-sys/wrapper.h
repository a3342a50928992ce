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
static inline uint64_t culvert_features(const IMB_MGR *m) { return m->features; }
static inline IMB_ARCH culvert_arch(const IMB_MGR *m) { return (IMB_ARCH)m->used_arch; }
