/* tiny_gguf PRESET FILE: writes a preset's model. tiny_gguf --list: names them. */
#include <stdio.h>
#include <string.h>

#include "ref/tiny.h"

int main(int argc, char **argv)
{
    struct lever_error err = { .status = LEVER_OK };
    const struct tiny_spec *spec = argc == 3 ? tiny_preset(argv[1]) : NULL;

    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (unsigned i = 0; tiny_preset_name(i); i++)
            puts(tiny_preset_name(i));
        return 0;
    }
    if (!spec) {
        fprintf(stderr, "%s\n", argc == 3 ? "tiny_gguf: no such preset; --list names them"
                                          : "use: tiny_gguf PRESET FILE | --list");
        return 2;
    }
    if (tiny_write(spec, argv[2], &err) < 0) {
        fprintf(stderr, "tiny_gguf: %s\n", err.message);
        return 1;
    }
    return 0;
}
