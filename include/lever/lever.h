/* lever.h - run a language model larger than the memory it may use.
 *
 * The one public header. C11, also valid C++. No global state: everything hangs
 * off a lever_engine (opened model pair, read-only after open, shared between
 * threads) and lever_seq (one conversation, one thread at a time; only
 * lever_cancel() may come from another thread).
 *
 * Strings are UTF-8 and NUL-terminated unless a length is given. Sizes are in
 * bytes, times in seconds. Option structs carry their own size, so that a
 * program built against an older header keeps working. */
#ifndef LEVER_H
#define LEVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(LEVER_BUILD) && defined(__GNUC__)
#define LEVER_API __attribute__((visibility("default")))
#else
#define LEVER_API
#endif

/* Code, name, sentence: one list makes the enum and lever_status_text(). */
#define LEVER_STATUS_LIST(X)                                           \
    X(LEVER_OK, 0, "success")                                          \
    X(LEVER_DONE, 1, "the text has ended")                             \
    X(LEVER_E_ARG, -1, "an argument is out of its range")              \
    X(LEVER_E_NOMEM, -2, "the system refused memory")                  \
    X(LEVER_E_MODEL, -3, "the model file is bad or not supported")     \
    X(LEVER_E_BUDGET, -4, "the model does not fit the memory budget")  \
    X(LEVER_E_IO, -5, "reading or writing a file failed")              \
    X(LEVER_E_CANCEL, -6, "cancelled")                                 \
    X(LEVER_E_PAIR, -7, "draft and target do not belong together")     \
    X(LEVER_E_INTERNAL, -8, "an internal limit was hit")

enum lever_status {
#define LEVER_X(name, code, text) name = code,
    LEVER_STATUS_LIST(LEVER_X)
#undef LEVER_X
};

/* Filled once, where the error arises: what, where, found, expected, next step. */
struct lever_error {
    enum lever_status status;
    char message[1000];
    uint64_t least_memory; /* with LEVER_E_BUDGET: the least budget that works; else 0 */
};

/* One sentence for a status code; a static string, never NULL. */
LEVER_API const char *lever_status_text(enum lever_status st);
LEVER_API const char *lever_version(void); /* "0.1.0" */

/* ---- options ------------------------------------------------------------ */

enum lever_speculation {
    LEVER_SPEC_AUTO = 0, /* a tree of the size that is predicted to be fastest; turns itself off when it loses */
    LEVER_SPEC_OFF,      /* one token a pass */
    LEVER_SPEC_CHAIN,    /* a single branch of draft tokens */
    LEVER_SPEC_TREE      /* a token tree */
};

enum lever_reader {
    LEVER_READER_PREAD = 0, /* O_DIRECT reads by a few threads; falls back to buffered by itself */
    LEVER_READER_URING,     /* io_uring, where the system allows it */
    LEVER_READER_BUFFERED   /* through the page cache */
};

enum lever_log_level { LEVER_LOG_ERROR, LEVER_LOG_WARN, LEVER_LOG_INFO, LEVER_LOG_DEBUG };

#define LEVER_MEMORY_UNLIMITED UINT64_C(0)
#define LEVER_MEMORY_AUTO UINT64_MAX /* what the machine and its cgroup can give */

struct lever_options {
    size_t size;             /* sizeof(struct lever_options), set by lever_options_default */
    const char *target_path; /* GGUF file, or the first of a split model; required */
    const char *draft_path;  /* GGUF file with the target's vocabulary; NULL = none */
    uint64_t memory_bytes;   /* bound on everything the process holds; LEVER_MEMORY_* */
    uint32_t n_ctx;          /* positions the KV cache can hold; 0 = 4096 or the model's limit if lower */
    uint32_t n_threads;      /* workers; 0 = one per usable core */
    bool vocab_only;         /* open metadata and tokenizer only: no weights, no lever_seq */

    enum lever_speculation speculation;
    uint32_t spec_draft_n_max; /* most draft tokens of a chain a round; 0 = default */

    const char *cpu_level;   /* force a kernel level by name ("ref", "avx2", ...); NULL = best */
    enum lever_reader reader;
    uint64_t ring_bytes;     /* stream ring; 0 = planned */
    uint64_t slot_bytes;     /* ring slot; 0 = planned */

    /* Called from the opening thread; NULL = silent. */
    void (*log)(void *user, enum lever_log_level level, const char *message);
    /* what: "load" or "prefill"; done and total in bytes or tokens. NULL = none. */
    void (*progress)(void *user, const char *what, uint64_t done, uint64_t total);
    void *user; /* handed to log and progress */

    bool no_overlap;         /* draft only while nothing is verified */
    uint32_t tree_rows;      /* most rows of a verify pass; 0 = chosen each round */
};

/* Fills *opt with defaults. size = sizeof *opt as the caller was compiled. */
LEVER_API void lever_options_default(struct lever_options *opt, size_t size);

struct lever_logit_bias {
    int32_t token;
    float bias; /* added to the logit; -INFINITY bans the token */
};

/* How tokens are drawn. The token at a position is
 * argmax(logit / temperature + g(seed, position, token)) over the tokens that the
 * filters leave, g a Gumbel variate from a counter-based hash; temperature 0 is
 * greedy (lowest id wins a tie). So the output depends on nothing but the
 * model, the prompt and these fields. */
struct lever_sampling {
    size_t size;             /* sizeof, set by lever_sampling_default */
    float temperature;       /* >= 0; default 0 */
    int32_t top_k;           /* 0 = off */
    float top_p;             /* (0, 1]; 1 = off */
    float min_p;             /* [0, 1); 0 = off */
    uint64_t seed;
    float repeat_penalty;    /* > 0; 1 = off */
    float presence_penalty;  /* 0 = off */
    float frequency_penalty; /* 0 = off */
    int32_t penalty_last_n;  /* tokens of history the penalties look at; -1 = all; default 64 */
    const struct lever_logit_bias *logit_bias; /* [n_logit_bias], copied */
    size_t n_logit_bias;
    bool ignore_eos;         /* bans every end-of-turn token */
};

LEVER_API void lever_sampling_default(struct lever_sampling *s, size_t size);

/* ---- engine --------------------------------------------------------------- */

typedef struct lever_engine lever_engine;
typedef struct lever_seq lever_seq;

/* Opens target and draft, plans memory, loads what stays resident.
 * opt is copied. *out is set only on success. err may be NULL. Blocks for the load. */
LEVER_API enum lever_status lever_open(lever_engine **out, const struct lever_options *opt,
                                       struct lever_error *err);
LEVER_API void lever_close(lever_engine *e); /* accepts NULL; every seq must be freed before */

struct lever_model_info {
    const char *path, *arch, *name, *file_type; /* borrowed from the engine */
    const char *tokenizer;                      /* "gpt2/qwen2", "llama", ... */
    uint64_t file_bytes, weight_bytes, n_params;
    uint32_t n_layer, n_embd, n_ff, n_head, n_head_kv, head_dim, n_vocab, n_ctx_train;
    uint32_t n_tensor, n_meta;
    bool tied_embedding;
    const char *chat_format; /* name of the recognised chat format, or NULL */
};

struct lever_tensor_info {
    const char *name, *type;
    uint32_t n_dim;
    uint64_t dim[4]; /* fastest first, as in the file */
    uint64_t file_offset, bytes;
};

/* which: 0 target, 1 draft. Returns LEVER_E_ARG when there is no such model or index. */
LEVER_API enum lever_status lever_model_info(const lever_engine *e, int which,
                                             struct lever_model_info *out);
LEVER_API enum lever_status lever_tensor_info(const lever_engine *e, int which, uint32_t i,
                                              struct lever_tensor_info *out);
/* Metadata key i and its value as text (arrays are shortened). Borrowed strings. */
LEVER_API enum lever_status lever_meta(const lever_engine *e, int which, uint32_t i,
                                       const char **key, const char **type, const char **value);

/* ---- text ------------------------------------------------------------------ */

enum lever_tokenize_flags {
    LEVER_TOK_PARSE_SPECIAL = 1, /* text such as <|im_end|> becomes its control token */
    LEVER_TOK_ADD_BOS = 2        /* prepend the beginning token, where the model has one */
};

/* Text to token ids. Returns the count in *n_out even when it exceeds cap_out (then
 * LEVER_E_ARG, nothing useful in out; call again with room). text may hold NUL bytes. */
LEVER_API enum lever_status lever_tokenize(const lever_engine *e, const char *text, size_t len,
                                           unsigned flags, int32_t *out, size_t cap_out,
                                           size_t *n_out, struct lever_error *err);

/* Bytes of one token (not NUL-terminated, may be part of a character). special: also
 * write the text of control tokens (otherwise they are empty). */
LEVER_API enum lever_status lever_token_bytes(const lever_engine *e, int32_t token, bool special,
                                              const char **bytes, size_t *len);
LEVER_API bool lever_token_is_end(const lever_engine *e, int32_t token);
LEVER_API bool lever_adds_bos(const lever_engine *e); /* the model wants a beginning token before raw text */

struct lever_message {
    const char *role; /* "system", "user", "assistant" */
    const char *content;
};

/* Messages through the model's chat format to token ids, with the opening of the
 * assistant's turn. Control tokens come only from the format, never from content.
 * LEVER_E_MODEL when the file's template is not one of the known formats. */
LEVER_API enum lever_status lever_chat_tokenize(const lever_engine *e,
                                                const struct lever_message *msg, size_t n_msg,
                                                int32_t *out, size_t cap_out, size_t *n_out,
                                                struct lever_error *err);

/* ---- generation -------------------------------------------------------------- */

/* A sequence with its own KV cache positions. s is copied (NULL = greedy). */
LEVER_API enum lever_status lever_seq_new(lever_engine *e, const struct lever_sampling *s,
                                          lever_seq **out, struct lever_error *err);
LEVER_API void lever_seq_free(lever_seq *seq); /* accepts NULL */

/* Appends prompt tokens and computes them (prefill). n >= 1; the context must have room.
 * When negative, the sequence is as before the call, but for LEVER_E_CANCEL and LEVER_E_IO, which
 * leave the part that was computed. */
LEVER_API enum lever_status lever_prompt(lever_seq *seq, const int32_t *ids, size_t n,
                                         struct lever_error *err);

/* Extends `seq` by one verify pass: drafts, runs the target once, commits the
 * longest accepted path. (arXiv 2605.16786, 4.1 to 4.3)
 *
 * seq      borrowed; one thread at a time. A prompt must have been given.
 * out      [cap_out] committed token ids in order; caller's memory. An end token
 *          is written as the last one.
 * cap_out  >= 1; a longer accepted path is cut here, KV included.
 * n_out    tokens written: >= 1, or 0 when the result is negative.
 * err      may be NULL; filled only when the result is negative.
 *
 * Returns LEVER_OK, LEVER_DONE (the last token written ends the text, or the
 *   context is full), or
 *   LEVER_E_ARG     cap_out is 0, a pointer other than err is NULL, or no prompt;
 *   LEVER_E_IO      a read failed twice;
 *   LEVER_E_CANCEL  lever_cancel() was called.
 * When negative, the sequence is unchanged and the call may be repeated.
 * Blocks for about one read of the streamed weights. */
LEVER_API enum lever_status lever_step(lever_seq *seq, int32_t *out, size_t cap_out, size_t *n_out,
                                       struct lever_error *err);

/* Drops the last n tokens of the sequence (a stop string reached back), KV included.
 * n must be smaller than the number of tokens in the sequence. */
LEVER_API enum lever_status lever_rewind(lever_seq *seq, size_t n, struct lever_error *err);

/* Makes the running lever_prompt() or lever_step() return LEVER_E_CANCEL soon.
 * Any thread or signal handler. Stays set until lever_cancel_clear(). */
LEVER_API void lever_cancel(lever_seq *seq);
LEVER_API void lever_cancel_clear(lever_seq *seq);

struct lever_stats {
    size_t size; /* set by the caller: sizeof(struct lever_stats) */
    /* engine */
    uint64_t memory_budget, memory_planned, peak_rss;
    double seconds_load;
    const char *kernels, *reader; /* "avx512vnni", "direct" */
    uint64_t pinned_bytes, streamed_bytes_per_pass;
    /* sequence; zero when seq is NULL */
    const char *speculation; /* mode that ran: "off", "chain", "tree" */
    uint64_t n_prompt, n_token, n_round, n_row;
    uint64_t n_drafted, n_accepted, n_pruned, n_lookup_accepted, n_bonus_in_tree;
    uint64_t streamed_bytes;        /* decode only */
    double seconds_prefill, seconds_decode;
    double seconds_draft;           /* drafting that verification had to wait for */
    double seconds_embed_wait;
    double seconds_stream_idle;     /* decode time without a read in flight */
};

/* seq may be NULL. */
LEVER_API enum lever_status lever_stats(const lever_engine *e, const lever_seq *seq,
                                        struct lever_stats *out);

#ifdef __cplusplus
}
#endif
#endif
