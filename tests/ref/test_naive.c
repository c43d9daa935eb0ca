/* The naive twins themselves: properties of random trees, published SHA-256 sums. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ref/naive.h"
#include "ref/sha256.h"

#define MAX_NODES 80

static void random_trees_are_trees(void **state)
{
    int chains = 0, deepest = 0, widest = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct lv_rng r = { seed };
        const int n = 1 + (int)lv_rng_below(&r, MAX_NODES);
        const int max_children = 1 + (int)lv_rng_below(&r, 6);
        int parent[MAX_NODES], count[MAX_NODES] = { 0 };

        ref_random_tree(&r, n, max_children, parent);
        if (parent[0] != -1)
            fail_msg("seed %d: the root has parent %d", (int)seed, parent[0]);
        for (int i = 1; i < n; i++) {
            if (parent[i] < 0 || parent[i] >= i)
                fail_msg("seed %d: node %d has parent %d", (int)seed, i, parent[i]);
            if (++count[parent[i]] > max_children)
                fail_msg("seed %d: node %d has more than %d children", (int)seed, parent[i], max_children);
            widest = count[parent[i]] > widest ? count[parent[i]] : widest;
            deepest = ref_tree_depth(parent, i) > deepest ? ref_tree_depth(parent, i) : deepest;
        }
        chains += max_children == 1 && ref_tree_depth(parent, n - 1) == n - 1;
    }
    assert_true(chains > 10); /* a limit of one child gives chains */
    assert_true(deepest > 30 && widest == 6);
}

/* The mask of a node is the set of the nodes on its path, found another way. */
static void mask_is_the_path(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct lv_rng r = { seed };
        const int n = 1 + (int)lv_rng_below(&r, MAX_NODES);
        int parent[MAX_NODES], path[MAX_NODES];
        static bool mask[MAX_NODES * MAX_NODES];

        ref_random_tree(&r, n, 4, parent);
        ref_tree_mask(parent, n, mask);
        for (int i = 0; i < n; i++) {
            const int len = ref_tree_path(parent, i, path);
            int n_seen = 0;

            if (len != ref_tree_depth(parent, i) + 1 || path[0] != 0 || path[len - 1] != i)
                fail_msg("seed %d: path of node %d", (int)seed, i);
            for (int j = 0; j + 1 < len; j++)
                if (parent[path[j + 1]] != path[j])
                    fail_msg("seed %d: path of node %d breaks at %d", (int)seed, i, j);
            for (int j = 0; j < len; j++)
                if (!mask[i * n + path[j]])
                    fail_msg("seed %d: node %d does not see %d", (int)seed, i, path[j]);
            for (int j = 0; j < n; j++)
                n_seen += mask[i * n + j];
            if (n_seen != len)
                fail_msg("seed %d: node %d sees %d nodes of a path of %d", (int)seed, i, n_seen, len);
        }
    }
}

static void child_by_token(void **state)
{
    const int parent[] = { -1, 0, 0, 1, 0 }, token[] = { 7, 5, 6, 5, 5 };

    (void)state;
    assert_int_equal(ref_tree_child(parent, token, 5, 0, 5), 1); /* the first of two */
    assert_int_equal(ref_tree_child(parent, token, 5, 0, 6), 2);
    assert_int_equal(ref_tree_child(parent, token, 5, 1, 5), 3);
    assert_int_equal(ref_tree_child(parent, token, 5, 0, 7), -1);
    assert_int_equal(ref_tree_child(parent, token, 5, 3, 5), -1);
}

static void sha256_of_published_examples(void **state)
{
    static const struct {
        const char *text, *hex;
    } list[] = {
        { "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
        { "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
        { "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
    };
    struct ref_sha256 s;
    char hex[65];

    (void)state;
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        ref_sha256_init(&s);
        for (const char *c = list[i].text; *c; c++) /* byte by byte */
            ref_sha256_add(&s, c, 1);
        ref_sha256_hex(&s, hex);
        assert_string_equal(hex, list[i].hex);
    }
    ref_sha256_init(&s);
    for (int i = 0; i < 1000; i++) { /* a million times "a", in pieces that straddle blocks */
        static char a[1000];

        memset(a, 'a', sizeof a);
        ref_sha256_add(&s, a, sizeof a);
    }
    ref_sha256_hex(&s, hex);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_trees_are_trees),
        cmocka_unit_test(mask_is_the_path),
        cmocka_unit_test(child_by_token),
        cmocka_unit_test(sha256_of_published_examples),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
