/* Progress of load and prefill: one line that is rewritten on a terminal, else now and then a plain one. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

double lv_cli_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void lv_progress_init(struct lv_progress *p, bool json)
{
    const char *term = getenv("TERM");

    memset(p, 0, sizeof *p);
    p->terminal = isatty(STDERR_FILENO) && !(term && !strcmp(term, "dumb"));
    p->quiet = json && !isatty(STDERR_FILENO);
    p->last = lv_cli_seconds();
}

void lv_progress_show(struct lv_progress *p, const char *what, uint64_t done, uint64_t total)
{
    const int percent = total ? (int)(100.0 * (double)(done < total ? done : total) / (double)total) : 0;
    const bool other = strncmp(what, p->what, sizeof p->what - 1) != 0;
    const double now = lv_cli_seconds();

    if (p->quiet)
        return;
    if (other) {
        snprintf(p->what, sizeof p->what, "%s", what);
        p->last_percent = -1;
    }
    /* a terminal ten times a second; a log every 5 s: short runs leave it clean */
    if (percent == p->last_percent || now - p->last < (p->terminal ? 0.1 : 5.0))
        return;
    p->last = now;
    p->last_percent = percent;
    if (p->terminal)
        fprintf(stderr, "\r\033[K%s %d%%", p->what, percent);
    else
        lv_say("%s %d%%", p->what, percent);
    fflush(stderr);
    p->shown = p->terminal;
}

void lv_progress_end(struct lv_progress *p)
{
    if (p->shown)
        fputs("\r\033[K", stderr);
    fflush(stderr);
    p->shown = false;
}
