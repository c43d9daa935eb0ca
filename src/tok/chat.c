/* Prints a conversation in a model's chat format. */
#include <string.h>

#include "base/mem.h"
#include "tok/chat_format.h"

/* Spans hold offsets while the bytes still move; render() makes them pointers. */
struct printer {
    struct lv_chat_text *text;
    size_t *off; /* of each span */
    size_t cap_bytes, cap_span;
    bool failed; /* no memory; sticky */
};

struct slice {
    const char *s;
    size_t len;
};

static bool grow(struct printer *p, size_t n_more)
{
    struct lv_chat_text *t = p->text;

    if (t->n_bytes + n_more > p->cap_bytes) {
        const size_t cap = (t->n_bytes + n_more) * 2 + 256;
        char *bytes = lv_realloc(t->bytes, cap, 1);

        if (!bytes)
            return false;
        t->bytes = bytes;
        p->cap_bytes = cap;
    }
    if (t->n_span == p->cap_span) {
        const size_t cap = p->cap_span * 2 + 16;
        struct lv_tok_span *span = lv_realloc(t->span, cap, sizeof *span);
        size_t *off = span ? lv_realloc(p->off, cap, sizeof *off) : NULL;

        if (span)
            t->span = span;
        if (!off)
            return false;
        p->off = off;
        p->cap_span = cap;
    }
    return true;
}

static void print(struct printer *p, struct slice s, bool special)
{
    struct lv_chat_text *t = p->text;

    if (s.len == 0 || p->failed)
        return;
    if (!grow(p, s.len)) {
        p->failed = true;
        return;
    }
    if (t->n_span == 0 || t->span[t->n_span - 1].special != special) {
        p->off[t->n_span] = t->n_bytes;
        t->span[t->n_span++] = (struct lv_tok_span){ NULL, 0, special };
    }
    memcpy(t->bytes + t->n_bytes, s.s, s.len);
    t->n_bytes += s.len;
    t->span[t->n_span - 1].len += s.len;
}

/* Bytes of the format: control tokens are parsed. */
static void put(struct printer *p, const char *s)
{
    if (s)
        print(p, (struct slice){ s, strlen(s) }, true);
}

/* Bytes of a message: they never become control tokens. */
static void put_text(struct printer *p, struct slice s)
{
    print(p, s, false);
}

static struct slice whole(const char *s)
{
    return (struct slice){ s, strlen(s) };
}

static bool is_role(const struct lever_message *m, const char *role)
{
    return strcmp(m->role, role) == 0;
}

/* Length of the white space at s (what str.strip() of Python takes), 0 if there is none. */
static size_t space_at(const char *s, size_t n)
{
    const unsigned char *c = (const unsigned char *)s;

    if (n >= 1 && ((c[0] >= 9 && c[0] <= 13) || (c[0] >= 0x1c && c[0] <= 0x20)))
        return 1;
    if (n >= 2 && c[0] == 0xc2 && (c[1] == 0x85 || c[1] == 0xa0))
        return 2;
    if (n < 3)
        return 0;
    if (c[0] == 0xe2 && c[1] == 0x80 && ((c[2] >= 0x80 && c[2] <= 0x8a) || c[2] == 0xa8 || c[2] == 0xa9 || c[2] == 0xaf))
        return 3; /* U+2000..200A, 2028, 2029, 202F */
    if (memcmp(c, "\xe1\x9a\x80", 3) == 0 || memcmp(c, "\xe2\x81\x9f", 3) == 0 || memcmp(c, "\xe3\x80\x80", 3) == 0)
        return 3; /* U+1680, 205F, 3000 */
    return 0;
}

static struct slice trim(struct slice s)
{
    size_t n;

    while ((n = space_at(s.s, s.len)) != 0) {
        s.s += n;
        s.len -= n;
    }
    while (s.len) {
        for (n = 1; n <= 3 && n <= s.len && space_at(s.s + s.len - n, n) != n; n++)
            ;
        if (n > 3 || n > s.len)
            break;
        s.len -= n;
    }
    return s;
}

static struct slice trim_newlines(struct slice s, bool left, bool right)
{
    for (; left && s.len && s.s[0] == '\n'; s.s++)
        s.len--;
    while (right && s.len && s.s[s.len - 1] == '\n')
        s.len--;
    return s;
}

/* ---- ChatML ---------------------------------------------------------------- */

static void put_ml(struct printer *p, const char *role, struct slice content)
{
    put(p, "<|im_start|>");
    put(p, role);
    put(p, "\n");
    put_text(p, content);
    put(p, "<|im_end|>\n");
}

static void render_ml(struct printer *p, const struct lv_chat_format *f, const struct lever_message *msg, size_t n)
{
    if (f->default_system && !is_role(&msg[0], "system"))
        put_ml(p, "system", whole(f->default_system));
    for (size_t i = 0; i < n; i++)
        put_ml(p, msg[i].role, whole(msg[i].content));
    put(p, "<|im_start|>assistant\n");
}

static struct slice after_last(struct slice s, const char *mark)
{
    const size_t n = strlen(mark);

    for (size_t i = s.len; i >= n; i--)
        if (memcmp(s.s + i - n, mark, n) == 0)
            return (struct slice){ s.s + i, s.len - i };
    return s;
}

/* Qwen 3: the thoughts of earlier turns are left out; an answer after the last question keeps them. */
static void put_thinking(struct printer *p, const struct lever_message *m, bool after_query, bool is_last)
{
    struct slice content = whole(m->content), thought = { "", 0 };
    const char *end = strstr(m->content, "</think>");

    if (end) {
        thought = trim_newlines((struct slice){ m->content, (size_t)(end - m->content) }, false, true);
        thought = trim_newlines(after_last(thought, "<think>"), true, false);
        content = trim_newlines(after_last(content, "</think>"), true, false);
    }
    if (!after_query || (!is_last && thought.len == 0)) {
        put_ml(p, m->role, content);
        return;
    }
    put(p, "<|im_start|>assistant\n<think>\n");
    put_text(p, trim_newlines(thought, true, true));
    put(p, "\n</think>\n\n");
    put_text(p, trim_newlines(content, true, false));
    put(p, "<|im_end|>\n");
}

/* Results of tools come as user messages in these marks; they are no question. */
static bool is_tool_response(const char *s)
{
    static const char open[] = "<tool_response>", close[] = "</tool_response>";
    const size_t len = strlen(s);

    return strncmp(s, open, sizeof open - 1) == 0 && len >= sizeof close - 1 &&
           strcmp(s + len - (sizeof close - 1), close) == 0;
}

static void render_ml_think(struct printer *p, const struct lever_message *msg, size_t n)
{
    size_t i_query = n - 1;

    for (size_t i = n; i-- > 0;) {
        if (is_role(&msg[i], "user") && !is_tool_response(msg[i].content)) {
            i_query = i;
            break;
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (is_role(&msg[i], "assistant"))
            put_thinking(p, &msg[i], i > i_query, i + 1 == n);
        else
            put_ml(p, msg[i].role, whole(msg[i].content));
    }
    put(p, "<|im_start|>assistant\n");
}

/* ---- others ------------------------------------------------------------------ */

static void put_header(struct printer *p, const char *role)
{
    put(p, "<|start_header_id|>");
    put(p, role);
    put(p, "<|end_header_id|>\n\n");
}

static void render_header(struct printer *p, const struct lv_chat_format *f, const struct lever_message *msg, size_t n)
{
    size_t i = 0;

    if (f->system_prefix) {
        put_header(p, "system");
        put(p, f->system_prefix);
        if (is_role(&msg[0], "system"))
            put_text(p, trim(whole(msg[i++].content)));
        put(p, "<|eot_id|>");
    }
    for (; i < n; i++) {
        put_header(p, msg[i].role);
        put_text(p, trim(whole(msg[i].content)));
        put(p, "<|eot_id|>");
    }
    put_header(p, "assistant");
}

static void render_turn(struct printer *p, const struct lever_message *msg, size_t n)
{
    const size_t first = is_role(&msg[0], "system");

    for (size_t i = first; i < n; i++) {
        put(p, "<start_of_turn>");
        put(p, is_role(&msg[i], "assistant") ? "model" : msg[i].role);
        put(p, "\n");
        if (first == 1 && i == 1) {
            put_text(p, whole(msg[0].content));
            put(p, "\n\n");
        }
        put_text(p, trim(whole(msg[i].content)));
        put(p, "<end_of_turn>\n");
    }
    put(p, "<start_of_turn>model\n");
}

static void render_inst(struct printer *p, const struct lv_chat_format *f, const struct lever_message *msg, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const bool answer = is_role(&msg[i], "assistant");

        put(p, answer ? NULL : "[INST] ");
        put_text(p, whole(msg[i].content));
        put(p, answer ? f->after_answer : " [/INST]");
    }
}

/* ---- render -------------------------------------------------------------------- */

/* What the templates check, and what they would skip in silence. */
static enum lever_status check(const struct lv_chat_format *f, const struct lever_message *msg, size_t n,
                               struct lever_error *err)
{
    const bool alternates = f->family == LV_CHAT_TURN || f->family == LV_CHAT_INST;
    size_t first = 0;

    if (n == 0)
        return LV_FAIL(err, LEVER_E_ARG, "chat: no messages, expected at least one");
    for (size_t i = 0; i < n; i++) {
        if (!msg[i].role || !msg[i].content)
            return LV_FAIL(err, LEVER_E_ARG, "chat: message %zu has no %s", i, msg[i].role ? "content" : "role");
        if (!is_role(&msg[i], "system") && !is_role(&msg[i], "user") && !is_role(&msg[i], "assistant"))
            return LV_FAIL(err, LEVER_E_ARG, "chat: message %zu has role \"%.32s\", expected system, user or assistant", i,
                           msg[i].role);
    }
    if (f->family == LV_CHAT_TURN && is_role(&msg[0], "system"))
        first = 1;
    if (f->family == LV_CHAT_TURN && first == n) /* the format has no turn to carry it */
        return LV_FAIL(err, LEVER_E_ARG, "chat: format %s needs a user message after the system message", f->name);
    for (size_t i = first; alternates && i < n; i++) {
        const bool fits = is_role(&msg[i], "user") == ((i - first) % 2 == 0);

        if (!fits || (f->family == LV_CHAT_INST && is_role(&msg[i], "system")))
            return LV_FAIL(err, LEVER_E_ARG,
                           "chat: message %zu is of role \"%s\"; format %s wants user and assistant in turn%s", i,
                           msg[i].role, f->name, f->family == LV_CHAT_TURN ? ", after at most one system message" : "");
    }
    return LEVER_OK;
}

enum lever_status lv_chat_render(const struct lv_chat_format *f, const struct lever_message *msg, size_t n_msg,
                                 struct lv_chat_text *out, struct lever_error *err)
{
    struct printer p = { .text = out };

    *out = (struct lv_chat_text){ 0 };
    if (!f)
        return LV_FAIL(err, LEVER_E_MODEL,
                       "no known chat template in this model; give the prompt as raw text in the model's own format");
    LV_TRY(check(f, msg, n_msg, err));
    put(&p, f->bos);
    switch (f->family) {
    case LV_CHAT_ML:
        render_ml(&p, f, msg, n_msg);
        break;
    case LV_CHAT_ML_THINK:
        render_ml_think(&p, msg, n_msg);
        break;
    case LV_CHAT_HEADER:
        render_header(&p, f, msg, n_msg);
        break;
    case LV_CHAT_TURN:
        render_turn(&p, msg, n_msg);
        break;
    case LV_CHAT_INST:
        render_inst(&p, f, msg, n_msg);
        break;
    }
    for (size_t i = 0; i < out->n_span; i++)
        out->span[i].s = out->bytes + p.off[i];
    lv_free(p.off);
    if (p.failed) {
        lv_chat_text_deinit(out);
        return LV_FAIL(err, LEVER_E_NOMEM, "chat: no memory to render %zu messages", n_msg);
    }
    return LEVER_OK;
}

void lv_chat_text_deinit(struct lv_chat_text *t)
{
    lv_free(t->bytes);
    lv_free(t->span);
    *t = (struct lv_chat_text){ 0 };
}
