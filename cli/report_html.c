/* The page of lever bench decode --html: one file, no script, nothing loaded from elsewhere. */
#include <string.h>

#include "bench_decode.h"
#include "report.h"

bool lv_report_html(struct lv_markup *m, const json_t *report)
{
    const char *target = json_string_value(json_object_get(report, "target"));
    struct lv_report r;

    lv_report_init(&r, report);
    lv_put(m, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>"
              "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/><title>Lever: ");
    lv_put_text(m, target ? target : "report");
    lv_put(m, "</title><style>\n");
    lv_put(m, lv_report_style);
    lv_put(m, "</style></head><body><main><h1>Lever: speed of ");
    lv_put_text(m, target ? target : "a model");
    lv_put(m, " in little memory</h1>\n");
    lv_report_about(m, &r);
    lv_put(m, "\n<div class=\"figures\">\n");
    lv_report_speed(m, &r);
    lv_report_bytes(m, &r);
    lv_report_tree_sizes(m, &r);
    lv_report_acceptance(m, &r);
    lv_report_prediction(m, &r);
    lv_report_memory(m, &r);
    lv_put(m, "</div>\n");
    lv_report_round(m, &r);
    lv_report_losses(m, &r);
    lv_report_failures(m, &r);
    lv_report_tasks(m, &r);
    lv_put(m, "</main></body></html>\n");
    return !m->failed;
}
