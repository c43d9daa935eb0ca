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
    LEVER_SPEC_AUTO = 0, /* a tree; rests, or gives its draft's memory to weights, where it would lose */
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

enum lever_prune {
    LEVER_PRUNE_AUTO = 0, /* while it measures as a gain */
    LEVER_PRUNE_ON,       /* wherever it is predicted to be one */
    LEVER_PRUNE_OFF
};

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

    /* The target's weights in kernel layout, made by lever_pack(): a file, "off", or NULL = the one beside the
     * model, if any (a draft's is always looked for there). A stale or damaged one is ignored with a warning. */
    const char *sidecar;

    bool no_overlap;         /* draft only while nothing is verified */
    uint32_t tree_rows;      /* most rows of a verify pass; 0 = chosen each round */
    /* The draft's output head: LEVER_HEAD_AUTO, _FULL, _Q4, or the number of tokens that it is cut to, the lowest ids. It
     * costs time and memory in each draft step; what is drafted never changes the text. */
    uint32_t draft_head;
    /* A folder (its parent must exist) where the engine keeps what it learns of these models on this machine: times, rates,
     * how far the draft is right. Read by lever_open, written by lever_close. It never changes the text, and may be deleted
     * at any time. NULL = nothing is kept. */
    const char *learned_dir;
    bool no_peek;            /* no look at what late layers of the target say, which steers drafting during a pass */
    enum lever_prune prune;  /* drop rows that a layer in the middle finds improbable; never changes the text */
    /* Where the draft runs: "cpu" (also NULL), "opencl", or "auto": there if that is measured to be faster. A device that is
     * missing or fails is warned of once, and the CPU drafts; the text is the same in any case. */
    const char *device;
    const char *lens;        /* file that tells pruning what states of the target's layers mean, or a folder to look for
                              * the target's (FINGERPRINT.lens) in; NULL: none */
};

#define LEVER_HEAD_AUTO 0u
#define LEVER_HEAD_FULL UINT32_MAX
#define LEVER_HEAD_Q4 (UINT32_MAX - 1)

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
 * leave the part that was computed: lever_stats.n_prompt has grown by its tokens. Go on with the rest, or step. */
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
    /* engine */
    const char *reader_method;      /* "pread", "uring" */
    /* sequence */
    double seconds_stream_wait;     /* decode: a worker without anything to do but wait for the stream, mean of all */
    double expected_tokens;         /* that the verified trees promised, by calibrated probabilities */
    double seconds_predicted;       /* of all rounds, by the cost model, exposed drafting included */
    uint64_t n_rested;              /* rounds without drafting because it had measured slower */
    const char *speculation_note;   /* why less was drafted than asked for; NULL: it was not. Lives as long as engine and seq */
    uint64_t n_bonus_by_peek;       /* of n_bonus_in_tree: only a late layer of the target had named it */
    double n_prune_lost;            /* tokens that dropped rows would have brought, about */
    double seconds_prune;           /* looking at layers in the middle */
};

/* seq may be NULL. */
LEVER_API enum lever_status lever_stats(const lever_engine *e, const lever_seq *seq,
                                        struct lever_stats *out);

/* ---- rounds, and deciding them again ------------------------------------------- */

#define LEVER_ROUND_STAIRS 16

enum lever_node_source { LEVER_FROM_DRAFT = 1, LEVER_FROM_LOOKUP = 2, LEVER_FROM_PEEK = 4 };

struct lever_round_node {
    int32_t token;
    int32_t parent; /* index in the list, below the node's own; -1 for the root */
    float p;        /* that the text takes its path, as calibrated; 1 for the root */
    uint32_t from;  /* who proposed it: enum lever_node_source, several at once */
};

/* What a round knew when it chose its tree, and what came of it. Times in seconds. */
struct lever_round {
    size_t size;     /* set by the caller */
    uint32_t n_node; /* candidates that were known, the likeliest first, root included; 0: no round */
    uint32_t n_row;  /* verified: the first n_row of them */
    const struct lever_round_node *node; /* [n_node], the sequence's, until its next call */
    double rate;     /* tokens a second of the run, which a round's time is worth */
    double spent;    /* drafting before the pass */
    double stream, head, fixed; /* predicted for any size */
    struct {
        uint32_t rows;
        double seconds;
    } stair[LEVER_ROUND_STAIRS]; /* predicted compute of a pass, rows rising */
    uint32_t n_stair;
    double predicted, seconds;   /* of the whole round; measured */
};

/* The last lever_step() as a round: n_node is 0 if it was none (the token behind a prompt), or without speculation. */
LEVER_API enum lever_status lever_last_round(const lever_seq *seq, struct lever_round *out);

struct lever_span {
    double begin, end; /* seconds since the round began, cut where the round ends */
};

/* When things went on in the last round, for a picture of it. */
struct lever_spans {
    size_t size;       /* set by the caller */
    double pass, head, end; /* seconds since the round began: drafting until `pass`, then the target's pass, from `head` on
                               its output head and acceptance; end 0: the last step was no round */
    double wait, background; /* of the pass, mean over workers: waiting for the stream; drafting meanwhile */
    const struct lever_span *read;  /* [n_read] from the device, in order of their ends; the sequence's, until its next call */
    const struct lever_span *draft; /* [n_draft] batches of the draft model, the same */
    size_t n_read, n_draft; /* at most 512 each: the latest */
};

/* LEVER_E_ARG when a pointer is NULL. Costs microseconds; nothing is recorded for it that a round does not know anyway. */
LEVER_API enum lever_status lever_last_spans(lever_seq *seq, struct lever_spans *out);

struct lever_replay_round {
    struct lever_round round;
    const int32_t *next; /* [n_next] the text behind the root, as far as it is known */
    size_t n_next;
};

#define LEVER_REPLAY_SIZES 20

struct lever_replay_size {
    uint32_t rows;       /* most rows of a round; of a choice 0 */
    double tokens_per_round, rows_per_round, seconds_per_round, tok_per_s;
};

struct lever_replay {
    size_t size;         /* set by the caller */
    uint64_t n_round;    /* counted; those whose text ends before their candidates do are not */
    struct lever_replay_size taken;  /* the trees as they were */
    struct lever_replay_size chosen; /* as the cost model chooses now */
    struct lever_replay_size fixed[LEVER_REPLAY_SIZES]; /* the same size in all rounds */
    uint32_t n_fixed, best;          /* best: index of the fastest fixed size, known only in hindsight */
    double promised;     /* tokens that the taken trees promised / tokens they gave */
    double predicted;    /* median of predicted / measured seconds of a round */
};

/* Decides recorded rounds again and compares with fixed sizes. Pure arithmetic: times come from each round's own
 * predictions, drafting is what it was, tokens come from the text.
 *
 * round  [n], borrowed
 * LEVER_E_ARG when a round contradicts itself (err says which), or none can be counted. */
LEVER_API enum lever_status lever_replay(const struct lever_replay_round *round, size_t n, struct lever_replay *out,
                                         struct lever_error *err);

/* ---- planning ------------------------------------------------------------------ */

#define LEVER_PLAN_ITEMS 16

/* Who gets how much of a memory budget, and what a pass will read. */
struct lever_plan_report {
    size_t size; /* set by the caller: sizeof(struct lever_plan_report) */
    uint64_t budget;          /* as planned for; 0 = no bound */
    uint64_t total, least;    /* least: the smallest budget that works without a draft; 0 without a bound */
    struct {
        const char *name;     /* static text */
        uint64_t bytes;
    } item[LEVER_PLAN_ITEMS];
    uint32_t n_item, n_ctx, n_threads;
    bool uses_draft;          /* a draft was given and fits */
    const char *kernels;
    uint64_t pinned_bytes;    /* matrices of the target that stay in memory, head included */
    uint64_t streamed_bytes;  /* read from flash in each pass */
    uint64_t head_bytes, draft_bytes; /* weights of the target's head; weights that a draft step reads */
    uint64_t ring_bytes, slot_bytes;
    uint32_t n_slot;          /* 0: nothing is streamed */
    uint64_t macs_per_row;    /* multiply-adds of a row of a pass, without the head */
    uint32_t n_draft;         /* draft tokens a round */
    uint32_t draft_head;      /* tokens that the draft's head is cut to; its vocabulary if it is whole */
    /* For lever_simulate(). */
    uint64_t head_macs, draft_macs;      /* multiply-adds of a row of the target's head; of a row of the draft, head included */
    uint64_t attn_macs, draft_attn_macs; /* of a row's attention to one position of the context */
    uint32_t n_extent, max_rows;         /* reads and most rows of a pass */
    uint32_t n_op, draft_ops;            /* steps of a pass and of a draft batch, each ending in a meeting of the threads */
    bool packed;                         /* streamed weights come in kernel layout, from a sidecar */
    bool peek;                           /* a late layer steers drafting */
    bool stream_head;                    /* the head is streamed too */
};

/* Plans as lever_open() would, without loading: opens the files and the tokenizer, allocates nothing large.
 * LEVER_E_BUDGET (with err->least_memory) when even the target alone does not fit. */
LEVER_API enum lever_status lever_plan(const struct lever_options *opt, struct lever_plan_report *out,
                                       struct lever_error *err);

/* A model as far as a plan depends on it, where there is no file. */
struct lever_model_shape {
    size_t size;              /* set by the caller */
    const char *name;         /* borrowed, as all texts */
    const char *arch;         /* "llama", "qwen2", "qwen3" */
    uint32_t n_layer, n_embd, n_ff, n_head, n_head_kv, head_dim, n_vocab, n_ctx_train;
    bool tied;                /* the head is the embedding table */
    const char *type, *head_type, *down_type; /* of matrices: "q4_0", "q4_k" ..; NULL: as type */
};

/* lever_plan() of models that are only described; paths in opt are not read. draft may be NULL. */
LEVER_API enum lever_status lever_plan_shape(const struct lever_options *opt, const struct lever_model_shape *target,
                                             const struct lever_model_shape *draft, struct lever_plan_report *out,
                                             struct lever_error *err);

/* ---- measuring ------------------------------------------------------------------ */

/* Best of several short runs, each time it was measured; rates a second. */
struct lever_rate {
    double median, low, high;
    uint32_t n; /* measurements */
};

/* What this machine can do with all threads of a pool; every speed is judged as a share of it. */
struct lever_raw {
    size_t size; /* set by the caller */
    struct lever_rate dram;     /* bytes read, from a block cycled through */
    struct lever_rate peak_mac; /* int8 multiply-adds from registers */
    struct lever_rate fma;      /* f32 fused multiply-adds from registers */
    const char *mac_instruction, *fma_instruction; /* static text */
    uint64_t block_bytes;       /* of the block; shares hold only if it is larger than the caches */
    uint32_t n_threads;
};

enum lever_kernel_op { LEVER_KERNEL_MATMUL, LEVER_KERNEL_PACK, LEVER_KERNEL_QK, LEVER_KERNEL_PV };

/* One measured case. Matmul: all threads, weights from memory, through the executor. Pack (file layout to kernel
 * layout): one thread, rows read from memory. QK, PV: attention of `rows` queries over one KV head, all threads. */
struct lever_kernel_case {
    size_t size;
    enum lever_kernel_op op;
    const char *type, *level;   /* "q4_k", "avx512vnni"; static text */
    uint32_t rows;              /* tokens at once; queries */
    uint32_t n_out, n_in;       /* shape of the matrix; positions and head size of QK, PV */
    double seconds;             /* of one matrix; of one head */
    double bytes_per_s;         /* weights; K or V of QK, PV */
    double mac_per_s;           /* multiply-adds; 0 for pack */
    double share_dram;          /* of raw.dram */
    double share_peak;          /* matmul of a quantized type: of raw.peak_mac; float types, QK, PV: of raw.fma */
};

struct lever_bench_kernels_options {
    size_t size;                /* set by lever_bench_kernels_default */
    const char *const *type;    /* [n_type] "q4_k"; 0 = all */
    size_t n_type;
    const uint32_t *rows;       /* [n_rows] 1..256 each; 0 = 1, 4, 8, 16, 32, 64 */
    size_t n_rows;
    const uint32_t (*shape)[2]; /* [n_shape] output rows (a multiple of 32), columns; 0 = 8960 x 1536, 1536 x 8960 */
    size_t n_shape;
    uint32_t n_threads;         /* 0 = one per usable core */
    const char *cpu_level;      /* NULL = best */
    uint64_t block_bytes;       /* weights to cycle through; 0 = 1 GiB, or less where memory is short */
    double run_seconds;         /* length of one run; 0 = 0.06. A case is the best of five */
    void (*on_case)(void *user, const struct lever_kernel_case *c); /* all cases, once the raw rates are final */
    void (*progress)(void *user, const char *what, uint64_t done, uint64_t total); /* NULL = none */
    void *user;
};

LEVER_API void lever_bench_kernels_default(struct lever_bench_kernels_options *opt, size_t size);
/* Measures the kernels; raw rates are taken before, between and after the cases. */
LEVER_API enum lever_status lever_bench_kernels(const struct lever_bench_kernels_options *opt, struct lever_raw *raw,
                                                struct lever_error *err);

struct lever_stream_report {
    size_t size; /* set by the caller */
    double raw;                   /* bytes/s: the streamed ranges in file order, 4 reads of a slot in flight, same reader;
                                   * in turn with passes, mean over their time */
    double raw_before, raw_after; /* first and last */
    double rate, share;           /* bytes/s that passes used up; rate / raw */
    double idle_share;            /* time without a read in flight */
    double cpu_share;             /* CPU seconds a second: reader threads, and packing where there is compute */
    double cpu_reader, cpu_pack;
    double seconds;
    uint64_t bytes_per_pass, slot_bytes;
    uint32_t n_pass, n_slot, rows;
    const char *reader, *kernels;
    double reread;                /* bytes/s of a range read again at once */
    bool looks_cached;            /* that is far above the first read: memory answers, not the device */
};

/* Streams the target as decoding does and compares with the raw rate of the same file in the same minute.
 *
 * opt      as for lever_open(); the draft and speculation are ignored
 * compute  true: real passes of `rows` rows (1..64); false: what arrives is given back at once
 * n_pass   passes to time; 0 = about three seconds of them, two at least
 * LEVER_E_ARG when nothing would be streamed. Blocks for load and passes. */
LEVER_API enum lever_status lever_bench_stream(const struct lever_options *opt, bool compute, uint32_t rows,
                                               uint32_t n_pass, struct lever_stream_report *out,
                                               struct lever_error *err);

#define LEVER_PROFILE_FLASH 32
#define LEVER_PROFILE_STAIRS 16

/* A device: measured, or from a file. Zero: not known. */
struct lever_profile {
    size_t size; /* set by the caller */
    struct {
        uint32_t read_bytes, lanes;
        double rate;              /* bytes/s */
    } flash[LEVER_PROFILE_FLASH];
    uint32_t n_flash;
    double flash_rate;            /* median of those with 2 MiB or more in flight: what the stream may hope for */
    const char *reader;           /* "direct", "buffered"; static text */
    bool looks_cached;            /* a second read was far faster: memory answers, not the device */
    double dram, peak_mac, fma;   /* as in struct lever_raw */
    const char *mac_instruction, *kernels;
    struct {
        uint32_t rows;
        double seconds;           /* of a matmul / its weights */
    } stair[LEVER_PROFILE_STAIRS]; /* matmul of q4_k at growing row counts */
    uint32_t n_stair, n_threads;
    uint64_t memory_available;
    /* An accelerator that runs passes and draft batches of rows where it is the faster one; published figures only. */
    struct {
        uint32_t rows;
        double seconds;           /* of a matmul / its weights */
    } accel[LEVER_PROFILE_STAIRS];
    uint32_t n_accel;             /* 0: there is none */
    double accel_submit;          /* seconds a pass or batch pays for being sent there */
    double pack;                  /* bytes/s that one thread brings into kernel layout; 0: not known */
};

enum lever_probe_parts { LEVER_PROBE_FLASH = 1, LEVER_PROBE_QUICK_FLASH = 2, LEVER_PROBE_COMPUTE = 4 };

/* Measures this machine.
 *
 * path   a folder: a temporary file of 256 MiB is written there, read and removed; or a file, which is read
 * parts  what to measure: FLASH: all sizes and lanes; QUICK_FLASH: one size that reaches the device's rate;
 *        COMPUTE: memory, peaks, staircase */
LEVER_API enum lever_status lever_probe(const char *path, unsigned parts, uint32_t n_threads, const char *cpu_level,
                                        struct lever_profile *out,
                                        void (*progress)(void *user, const char *what, uint64_t done, uint64_t total),
                                        void *user, struct lever_error *err);

#define LEVER_MAP_DEVICES 4
#define LEVER_MAP_CELLS 32

/* Rows of a program: what each device takes, and where the mapper puts them. */
struct lever_map_cell {
    const char *program; /* "draft body", "draft head", "target body", "target head"; static text */
    uint32_t rows;
    double device_seconds[LEVER_MAP_DEVICES]; /* of a run; 0: not possible, or not allowed: an inexact device for the target */
    struct {
        uint32_t device, rows;
    } part[2];           /* rows in this order; two parts: the batch is cut */
    uint32_t n_part;
    double seconds;      /* of the choice */
};

struct lever_mapping {
    size_t size; /* set by the caller */
    struct {
        const char *name, *kind; /* kernel level or device; "vector", "matrix", "accelerator"; static text */
        bool exact, shares_cores; /* its bits are the CPU's; its work takes the workers' time */
    } device[LEVER_MAP_DEVICES];
    uint32_t n_device;
    struct lever_map_cell cell[LEVER_MAP_CELLS];
    uint32_t n_cell, n_threads;
    bool streamed; /* some of the target's weights: its times are of kernels alone, without the stream */
};

/* Loads the models as lever_open() would (opt->learned_dir is ignored) and measures the programs on each device. Blocks for that:
 * some seconds. A draft that the plan leaves out is not measured. */
LEVER_API enum lever_status lever_probe_models(const struct lever_options *opt, struct lever_mapping *out,
                                               struct lever_error *err);

/* ---- simulation ------------------------------------------------------------------ */

#define LEVER_ACCEPT_CHILDREN 8
#define LEVER_ACCEPT_CLASSES 16
#define LEVER_ACCEPT_TASKS 16

#define LEVER_ACCEPT_MATCHES 6
#define LEVER_ACCEPT_TEXT 512

/* What comes behind a place of a text. */
struct lever_place {
    uint8_t cls;   /* its class */
    uint8_t truth; /* the text's token as the draft ranks it; LEVER_ACCEPT_CHILDREN: none of them */
    uint8_t match; /* tokens that agree before what prompt lookup says, 2..32; 0: it says nothing */
    bool copied;   /* and that is the text's token */
};

/* How a draft and a target agree, by classes of positions. Shares are 0..1. Prompt lookup by matches of 2, 3, 4-5, 6-8, 9-15,
 * 16 and more tokens before it; all 0: it finds nothing. */
struct lever_acceptance {
    size_t size;             /* set by the caller */
    struct {
        float p[LEVER_ACCEPT_CHILDREN];   /* what the draft promises of its best tokens, falling */
        float hit[LEVER_ACCEPT_CHILDREN]; /* how often the target takes them */
    } cls[LEVER_ACCEPT_CLASSES];
    uint32_t n_class;
    float lookup[LEVER_ACCEPT_MATCHES];     /* what lookup promises of its token */
    struct {
        char name[24];
        float on[LEVER_ACCEPT_CLASSES];     /* share of each class on the text's own path */
        float copied[LEVER_ACCEPT_CLASSES]; /* the same where lookup is right; `on` is then where it is not */
        float found, found_again;           /* how often lookup has something to say, and where it was right just before */
        float right[LEVER_ACCEPT_MATCHES];  /* how often that is the text's token */
        float beside[LEVER_ACCEPT_CLASSES]; /* at candidates that the text does not take */
        float stay;                         /* share of places that are of the class before them, beyond chance */
        struct lever_place text[LEVER_ACCEPT_TEXT]; /* [n_text] a recorded text, over and over, in place of one that is drawn from shares */
        uint32_t n_text;
    } task[LEVER_ACCEPT_TASKS];
    uint32_t n_task;
};

enum lever_simulation_mode { LEVER_SIM_OFF, LEVER_SIM_CHAIN, LEVER_SIM_TREE, LEVER_SIM_LEVER };

struct lever_simulation_options {
    size_t size;             /* set by lever_simulation_options_default */
    enum lever_simulation_mode mode; /* OFF: a token a pass; CHAIN, TREE: draft, then verify; LEVER: both at once */
    uint32_t chain;          /* tokens of a chain; 0 = the best of 3, 5, 7, 11, 15, 23, 31 */
    uint32_t tree_rows;      /* most rows of a round; 0 = as planned */
    uint32_t context;        /* positions that a row attends to, on average; 0 = half of what was planned for */
    uint32_t text;           /* tokens of a text, which its last round is cut to; 0: it never ends */
    uint32_t tokens;         /* of each task; 0 = 768 */
    uint64_t seed;
    bool serial_stream;      /* the device rests between passes, as an engine without read-ahead does */
    float prune_at, prune_rows, prune_lost; /* share of the layers after which rows are dropped; of rows; of accepted tokens
                                               that are lost with them */
    float peek_hit;          /* how often a look at a late layer names the next root; below 0: as measured, 0.6 */
    float prune_knows;       /* instead of prune_rows and prune_lost: share of places where the layer at prune_at knows the next
                                token; which rows that drops is left to the engine's rules */
};

LEVER_API void lever_simulation_options_default(struct lever_simulation_options *opt, size_t size);

struct lever_simulation_task {
    double tok_per_s, tokens_per_round, rows_per_round, round_seconds;
    double stream_seconds;   /* of a round: its bytes / the device's rate; beside the rest */
    double target_seconds, head_seconds; /* compute of a pass, head along the path */
    double exposed_seconds, beside_seconds; /* drafting that the round waits for; drafting beside the pass */
    double wait_seconds;     /* a pass without its next weights, filled with drafting or not */
    double device_idle, cpu_idle; /* shares of the time */
    double bonus_in_tree;    /* share of rounds whose last token was a candidate already */
    uint64_t rounds;
};

struct lever_simulation {
    size_t size;             /* set by the caller */
    struct lever_simulation_task all; /* tok_per_s and tokens_per_round: harmonic means over tasks; the rest: means over rounds */
    struct lever_simulation_task task[LEVER_ACCEPT_TASKS]; /* as in the acceptance table */
    uint32_t n_task;
    uint32_t chain;          /* of CHAIN: the length that was taken */
};

/* Runs the rounds of a plan on a device in virtual time: draft batches, passes over the ring, the head along the path. The same
 * choices as the engine's, by the same code. Takes some tenths of a second.
 * LEVER_E_ARG when the profile lacks a rate, the table is not sound, or a chain needs a draft that the plan has not; a tree does
 * with prompt lookup. */
LEVER_API enum lever_status lever_simulate(const struct lever_plan_report *plan, const struct lever_profile *profile,
                                           const struct lever_acceptance *acceptance,
                                           const struct lever_simulation_options *opt, struct lever_simulation *out,
                                           struct lever_error *err);

/* ---- sidecar ------------------------------------------------------------------- */

struct lever_pack_options {
    size_t size;             /* set by lever_pack_options_default */
    const char *target_path; /* GGUF file, or the first of a split model; required */
    const char *out_path;    /* NULL = target_path with ".lvp" behind it, where lever_open looks */
    bool force;              /* write anew what is good, and over a file of another kind */

    /* All from the calling thread; may be NULL. */
    void (*log)(void *user, enum lever_log_level level, const char *message);
    void (*progress)(void *user, const char *what, uint64_t done, uint64_t total); /* "check" or "pack", bytes */
    bool (*cancelled)(void *user); /* asked every few MiB; true: stop */
    void *user;
};

LEVER_API void lever_pack_options_default(struct lever_pack_options *opt, size_t size);

/* Writes the weights of a model once more, in kernel layout and execution order, so that streaming them costs less
 * CPU time. Memory stays within the file's header and a few pieces of 4 MiB.
 *
 * Returns LEVER_OK (written), LEVER_DONE (a good one is there: it was read and checked), or
 *   LEVER_E_MODEL   the model is bad or not supported;
 *   LEVER_E_IO      reading or writing failed, no room;
 *   LEVER_E_ARG     out_path is the model, or a file that is no sidecar (without force);
 *   LEVER_E_CANCEL  cancelled() said so.
 * When negative, what was at out_path is as before. */
LEVER_API enum lever_status lever_pack(const struct lever_pack_options *opt, struct lever_error *err);

#ifdef __cplusplus
}
#endif
#endif
