/* lever tokenize: text to token ids, and ids to text. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "text.h"

static int print_ids(const int32_t *ids, size_t n, bool json)
{
    if (json)
        return lv_json_print(json_pack("{s:o}", "ids", lv_json_ids(ids, n)));
    for (size_t i = 0; i < n; i++)
        printf("%s%" PRId32, i ? " " : "", ids[i]);
    putchar('\n');
    return lv_stdout_done() ? LV_EXIT_OK : LV_EXIT_IO;
}

/* "1,2,3", "1 2 3", "[1, 2]": *ids is freed by the caller. */
static enum lever_status parse_ids(const char *s, int32_t **ids, size_t *n, struct lever_error *err)
{
    *n = 0;
    *ids = malloc((strlen(s) / 2 + 1) * sizeof **ids); /* a digit and a separator each */
    if (!*ids)
        return lv_cli_fail(err, LEVER_E_NOMEM, "no memory for the ids");
    while (*(s += strspn(s, " ,[]\t\r\n"))) {
        const size_t digits = strspn(s, "0123456789"), len = strcspn(s, " ,[]\t\r\n");
        const long id = digits == len && digits <= 10 ? strtol(s, NULL, 10) : -1;

        if (id < 0 || id > INT32_MAX)
            return lv_cli_fail(err, LEVER_E_ARG, "--decode: found \"%.*s\", expected token ids such as 1,2,3",
                               (int)(len < 40 ? len : 40), s);
        (*ids)[(*n)++] = (int32_t)id;
        s += len;
    }
    return LEVER_OK;
}

static int decode(const struct lv_args *a, const lever_engine *e, struct lever_error *err)
{
    struct lv_text text;
    int32_t *ids = NULL;
    size_t n = 0;
    int code;

    lv_text_init(&text, NULL, 0);
    if (parse_ids(a->decode, &ids, &n, err) < 0)
        goto fail;
    for (size_t i = 0; i < n; i++) {
        const char *bytes;
        size_t len;

        if (lever_token_bytes(e, ids[i], !a->no_special, &bytes, &len) < 0) {
            lv_cli_fail(err, LEVER_E_ARG, "--decode: token %" PRId32 " is outside the vocabulary", ids[i]);
            goto fail;
        }
        if (!lv_text_push(&text, bytes, len)) {
            lv_cli_fail(err, LEVER_E_NOMEM, "no memory for the text");
            goto fail;
        }
    }
    if (a->json) {
        code = lv_json_print(json_pack("{s:o}", "text", lv_json_text(text.bytes ? text.bytes : "", text.n_bytes)));
    } else {
        if (text.n_bytes)
            fwrite(text.bytes, 1, text.n_bytes, stdout); /* exactly these bytes, no newline added */
        code = lv_stdout_done() ? LV_EXIT_OK : LV_EXIT_IO;
    }
    goto out;
fail:
    code = lv_report(err, a->json);
out:
    lv_text_deinit(&text);
    free(ids);
    return code;
}

static int encode(const struct lv_args *a, const lever_engine *e, struct lever_error *err)
{
    const unsigned flags = (a->no_special ? 0 : LEVER_TOK_PARSE_SPECIAL) | (a->add_bos ? LEVER_TOK_ADD_BOS : 0);
    const char *text;
    char *owned = NULL;
    int32_t *ids = NULL;
    size_t len, n;
    int code;

    if (lv_session_text(a, &text, &len, &owned, err) < 0 ||
        lv_session_tokenize(e, text, len, flags, &ids, &n, err) < 0)
        code = lv_report(err, a->json);
    else
        code = print_ids(ids, n, a->json);
    free(ids);
    free(owned);
    return code;
}

int lv_cli_tokenize(const struct lv_args *a)
{
    struct lever_error err = { .status = LEVER_OK };
    lever_engine *e = NULL;
    int code;

    if (lv_session_vocab(a, &e, &err) < 0)
        return lv_report(&err, a->json);
    code = a->decode ? decode(a, e, &err) : encode(a, e, &err);
    lever_close(e);
    return code;
}
